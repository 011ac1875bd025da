"""What operators are answered, as models; the console is its one reader so far."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from api.spec.models import (
    ABSENT,
    Answer,
    Attempt,
    Cursor,
    EntryIdText,
    EventType,
    JobId,
    JobProgressDetail,
    Whole,
)
from streams.kinds import KINDS, State

KindName = Annotated[str, Field(json_schema_extra={"enum": list(KINDS)})]
StateName = Annotated[str, Field(json_schema_extra={"enum": list(State)})]
Seconds = Annotated[float, Field(ge=0)]
Milliseconds = Annotated[int, Field(ge=0, description="Since 1970.")]


class Session(Answer):
    """The caller may come in."""

    mode: Annotated[Literal["jwt", "dev"], Field(description="How the server knows callers.")]
    kinds: Annotated[list[str], Field(description="Kinds of jobs that it knows.")]


class GroupSamples(Answer):
    """One group over the last hour: one number a sample; null where it is not known."""

    rate: Annotated[list[Seconds | None], Field(description="Entries applied a second.")]
    waiting: list[Whole | None]
    pending: list[Whole | None]
    oldest_seconds: Annotated[
        list[float | None], Field(description="Age of the oldest unprocessed entry.")
    ]


class Samples(Answer):
    """The last hour, column by column."""

    at: list[Milliseconds]
    dead: Annotated[Whole | None, Field(description="Dead letters at the last sample.")]
    groups: dict[str, GroupSamples]


class Consumer(Answer):
    """What one consumer last said of itself."""

    group: str
    name: str
    host: str
    pid: Whole
    since: Milliseconds
    beat: Milliseconds
    applied: Annotated[Whole, Field(description="Entries, since it began.")]
    alive: bool


class StalledCount(Answer):
    """Jobs at work that have been silent for long."""

    count: Whole
    more: Annotated[bool, Field(description="Whether counting stopped there.")]
    after_seconds: Whole


class Server(Answer):
    """One server, in a few words."""

    name: str
    ok: bool
    words: str


class Overview(Answer):
    """All at a glance; a server that is away leaves its part null."""

    samples: Samples | None
    consumers: list[Consumer] | None
    stalled: StalledCount | None
    servers: list[Server]


class GroupLag(Answer):
    """How far one group is behind in one tenant's log."""

    waiting: Whole | None
    pending: Whole | None
    oldest_seconds: Seconds


class Tenant(Answer):
    """One tenant's activity and lag."""

    tenant: str
    groups: dict[str, GroupLag]
    per_minute: dict[str, Seconds]
    dead: Whole


class Tenants(Answer):
    """Tenants, the busiest or those furthest behind first."""

    items: list[Tenant]


class Letter(Answer):
    """A dead letter, without its bytes."""

    tenant: str
    known_tenant: Annotated[bool, Field(description="Whether that is a tenant's name at all.")]
    id: Annotated[EntryIdText, Field(description="The entry's id, by which letters are asked for.")]
    entry_id: Annotated[str, Field(description="The entry that could not be applied.")]
    group: Annotated[str, Field(description="The groups that gave it up, as one text.")]
    groups: list[str]
    reason: Annotated[str, Field(description="Why, as the first group found.")]
    detail: str
    deliveries: Whole
    buried_at: AwareDatetime
    bytes: Annotated[Whole, Field(description="Size of the event as it came.")]
    sha256: Annotated[
        str | None, Field(description="Hash of the event, where only its beginning was kept.")
    ]


class LetterTenant(Answer):
    """A tenant with dead letters."""

    tenant: str
    letters: Whole


class Letters(Answer):
    """Dead letters, newest first."""

    items: list[Letter]
    next_cursor: Cursor
    tenants: list[LetterTenant]


class Bytes(Answer):
    """Bytes, as text where they are text."""

    text: str = ABSENT
    base64: str = ABSENT


class LetterField(Answer):
    """A field of an entry that none should have."""

    name: Bytes
    value: Bytes


class Burial(Answer):
    """That one group gave the entry up."""

    group: str
    reason: str
    detail: str
    deliveries: Whole


class WholeLetter(Letter):
    """A dead letter with its bytes."""

    event: Bytes | None
    cut: Annotated[bool, Field(description="Whether there is more than is shown.")]
    others: list[LetterField]
    burials: list[Burial]


class Requeued(Answer):
    """The entry was appended again."""

    entry_id: EntryIdText


class Discarded(Answer):
    """The letter is gone for ever."""

    discarded: Literal[True]


class _Work(Answer):
    """What is said of a job wherever it is shown."""

    tenant: str
    kind: KindName
    id: JobId
    job_type: str | None
    attempt: Attempt
    worker: str | None
    progress: JobProgressDetail | None
    updated_at: AwareDatetime


class _Job(_Work):
    """The same, and its state."""

    state: StateName
    status: str
    code: str | None
    error: str | None
    created_at: AwareDatetime


class OpsListedJob(_Job):
    """A job in operators' lists."""

    listed_at: Annotated[str, Field(description="Where it stands in lists; PostgreSQL's text.")]


class OpsJobs(Answer):
    """A page of jobs; it may be empty and yet not the last, where the filters let few through."""

    items: list[OpsListedJob]
    next_cursor: Cursor
    looked_to: Annotated[
        str | None, Field(description="How far back it was looked; null where the page is full.")
    ]


class StalledJob(_Work):
    """A job at work of which nothing has been heard for long."""

    heard_ms: Milliseconds


class StalledJobs(Answer):
    """Jobs at work that are silent, the longest first."""

    items: list[StalledJob]
    next_cursor: Cursor
    after_seconds: Whole


class OpsRow(_Job):
    """A job's row."""

    result: Annotated[str | None, Field(description="As JSON text; null where it is large.")]
    result_bytes: Whole | None
    labels: dict[str, str]
    started_at: AwareDatetime | None
    ended_at: AwareDatetime | None
    entry_id: Annotated[str, Field(description="The entry that won.")]


class ToldEvent(Answer):
    """An event that won, or might have."""

    entry_id: EntryIdText
    type: EventType
    attempt: Attempt
    because: Annotated[str, Field(description="The rule, for people.")]


class LostEvent(ToldEvent):
    """An event that might have decided, and the rule by which it did not."""

    rule: Literal["attempt", "rank", "entry_id"]


class Why(ToldEvent):
    """Which event won, and over what."""

    losers: list[LostEvent]
    agrees: Annotated[bool, Field(description="Whether the row says the same.")]


class Span(Answer):
    """A step of one attempt."""

    attempt: Attempt
    name: str
    start: AwareDatetime
    end: AwareDatetime


class Mark(Answer):
    """A moment of one attempt."""

    attempt: Attempt
    type: EventType
    at: AwareDatetime
    entry_id: EntryIdText


class Timeline(Answer):
    """A job's life as a picture needs it."""

    spans: list[Span]
    marks: list[Mark]


class Live(Answer):
    """What Redis serves of a job."""

    status: str | None
    attempt: Attempt | None
    updated_at: AwareDatetime | None


class OpsJob(Answer):
    """One job: its row, what Redis serves of it, its life, and why it stands as it does."""

    job: OpsRow | None
    live: Live | None
    why: Why | None
    timeline: Timeline
    events: Annotated[Whole, Field(description="How many events the history has of it.")]


class OpsHistoryEvent(Answer):
    """One event of a history, as it came."""

    entry_id: EntryIdText
    event: Annotated[str, Field(description="The event's JSON, as text.")]
    landings: Annotated[int, Field(ge=1, description="How often it was appended.")]


class OpsHistory(Answer):
    """A page of a job's events, in the order of the log."""

    items: list[OpsHistoryEvent]
    next_cursor: Cursor


class OpsResult(Answer):
    """A job's whole result."""

    result: Annotated[str, Field(description="As JSON text.")]

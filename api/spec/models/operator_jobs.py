"""Models of the operators' answers about jobs.

Used by `api.spec.models.operator_figures` and `api.spec.operations.operators`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, Field

from api.spec.models.base import Answer, Attempt, Count, EntryIdText, EventType, JobId, NextCursor
from api.spec.models.operators import Milliseconds
from api.spec.models.progress import JobProgressDetail
from streams.kinds import KINDS, State

KindName = Annotated[str, Field(json_schema_extra={"enum": list(KINDS)})]
StateName = Annotated[str, Field(json_schema_extra={"enum": list(State)})]


class _OperatorJobBase(Answer):
    """The fields of a job in all of the operators' answers."""

    tenant: str
    kind: KindName
    id: JobId
    job_type: str | None
    attempt: Attempt
    worker: str | None
    progress: JobProgressDetail | None
    updated_at: AwareDatetime


class _OperatorJobState(_OperatorJobBase):
    """The same fields, and the job's state."""

    state: StateName
    status: Annotated[str, Field(description="The state in the word of the kind that clients see.")]
    code: str | None
    error: str | None
    created_at: AwareDatetime


class OperatorListedJob(_OperatorJobState):
    """A job in a list."""

    listed_at: Annotated[
        str, Field(description="The time by which lists are ordered, in PostgreSQL's format.")
    ]


class OperatorJobList(Answer):
    """A page of jobs. It may be empty and have a `next_cursor`, if few jobs match the filters."""

    items: list[OperatorListedJob]
    next_cursor: NextCursor
    searched_until: Annotated[
        str | None,
        Field(
            description="The creation time of the oldest job that was searched; null if the page "
            "is full."
        ),
    ]


class FailureCounts(Answer):
    """Failed jobs, and when they failed."""

    jobs: Count
    tenants: Annotated[Count, Field(description="The tenants of these jobs.")]
    first: Annotated[AwareDatetime | None, Field(description="The first failure.")]
    last: Annotated[AwareDatetime | None, Field(description="The last failure.")]


class FailureGroup(FailureCounts):
    """Failed jobs with errors of the same code and text."""

    code: str | None
    text: Annotated[
        str | None,
        Field(description="The beginning of the error, with `#` for numbers that differ."),
    ]
    job_type: Annotated[str | None, Field(description="Null if there are several, or none.")]
    job_types: Count
    worker: Annotated[str | None, Field(description="Null if there are several, or none.")]
    workers: Count


class FailureGroups(FailureCounts):
    """The failed jobs that match, as far as this request has examined them."""

    groups: Annotated[
        list[FailureGroup], Field(description="At most 20, those with the most jobs first.")
    ]
    examined: Annotated[Count, Field(description="All failed jobs that were examined.")]
    since: Annotated[
        AwareDatetime | None, Field(description="The creation time of the oldest one of these.")
    ]
    more: Annotated[bool, Field(description="Whether there may be more that match.")]


class StalledJob(_OperatorJobBase):
    """A job that is processing and has had no event for a long time."""

    last_event_ms: Milliseconds


class StalledJobList(Answer):
    """A page of stalled jobs, those without events for the longest time first."""

    items: list[StalledJob]
    next_cursor: NextCursor
    after_seconds: Count


class OperatorJobRow(_OperatorJobState):
    """The stored row of a job."""

    result: Annotated[str | None, Field(description="The result as JSON; null if it is large.")]
    result_bytes: Count | None
    labels: dict[str, str]
    started_at: AwareDatetime | None
    ended_at: AwareDatetime | None
    entry_id: Annotated[str, Field(description="The entry that determines the state.")]


class ExplainedEvent(Answer):
    """An event that determines a job's state, or could have."""

    entry_id: EntryIdText
    type: EventType
    attempt: Attempt
    reason: Annotated[str, Field(description="Why it does or does not determine the state.")]


class SupersededEvent(ExplainedEvent):
    """An event that does not determine the job's state."""

    rule: Annotated[
        Literal["attempt", "rank", "entry_id"], Field(description="The rule that decided.")
    ]
    late: Annotated[
        bool,
        Field(description="Whether it came after an end of its attempt that it cannot replace."),
    ]


class EarlierEvent(Answer):
    """The event that ended an attempt, or began a later one."""

    entry_id: EntryIdText
    type: EventType
    attempt: Attempt


class LateEventsNote(Answer):
    """A note about events that arrived after the end of their attempt, or after a later attempt."""

    attempt: Attempt
    events: Annotated[
        int, Field(ge=1, description="The number of these events among those that were read.")
    ]
    entry_id: EntryIdText
    after: EarlierEvent
    next_attempt: Annotated[
        Attempt, Field(description="The number of the next attempt, for a job that is run again.")
    ]
    text: Annotated[str, Field(description="What happened, and what to do about it.")]


class StateExplanation(ExplainedEvent):
    """The event that determines a job's state."""

    superseded: list[SupersededEvent]
    notes: list[LateEventsNote]
    matches_row: Annotated[bool, Field(description="Whether the stored row has the same event.")]


class AttemptFailure(Answer):
    """The failure of an attempt."""

    attempt: Attempt
    entry_id: EntryIdText
    at: AwareDatetime
    code: str | None
    text: Annotated[
        str | None, Field(description="The text for operators, or else that for users.")
    ]


class TimelineSpan(Answer):
    """A step of an attempt."""

    attempt: Attempt
    name: str
    display: Annotated[str, Field(description="The name for people.")]
    start: AwareDatetime
    end: AwareDatetime
    late: Annotated[bool, Field(description="Whether the step began after the end of its attempt.")]


class TimelineMoment(Answer):
    """The beginning or the end of an attempt, or its queueing."""

    attempt: Attempt
    type: EventType
    at: AwareDatetime
    entry_id: EntryIdText
    late: Annotated[
        bool,
        Field(description="Whether it came after an end of its attempt that it cannot replace."),
    ]


class JobTimeline(Answer):
    """The timeline of a job."""

    spans: list[TimelineSpan]
    moments: list[TimelineMoment]


class LiveState(Answer):
    """The state of a job in Redis."""

    status: str | None
    attempt: Attempt | None
    updated_at: AwareDatetime | None


class OperatorJob(Answer):
    """A job: its stored row, its state in Redis, its timeline, and an explanation of its state."""

    job: OperatorJobRow | None
    live: LiveState | None
    explanation: StateExplanation | None
    last_failure: Annotated[
        AttemptFailure | None,
        Field(description="Why the last attempt that failed has failed, also if it is retried."),
    ]
    timeline: JobTimeline
    events: Annotated[Count, Field(description="The number of events in the job's history.")]
    events_read: Annotated[
        Count,
        Field(
            description="The number of these that the explanation and the timeline take into "
            "account: the latest ones, and the one that determines the stored row."
        ),
    ]


class OperatorPastState(Answer):
    """The state of a job after its first events, as clients saw it."""

    entry_id: Annotated[EntryIdText, Field(description="The entry of the last of these events.")]
    at: Annotated[AwareDatetime, Field(description="When that event happened.")]
    type: Annotated[EventType, Field(description="The type of that event.")]
    state: StateName
    won: Annotated[bool, Field(description="Whether that event determined the state.")]
    answer: Annotated[
        dict[str, Any] | None, Field(description="The body of the progress answer of that time.")
    ]


class NearJob(Answer):
    """A job that an operator may mean."""

    tenant: str
    kind: KindName
    id: JobId
    state: StateName


class Suggestions(Answer):
    """Jobs and tenants that an operator may mean."""

    jobs: list[NearJob]
    tenants: list[str]


class OperatorHistoryItem(Answer):
    """An event of a job's history."""

    entry_id: EntryIdText
    event: Annotated[str, Field(description="The event's JSON, as text.")]
    appended: Annotated[int, Field(ge=1, description="How many times it was appended.")]


class OperatorHistory(Answer):
    """A page of a job's events, in the order of the stream."""

    items: list[OperatorHistoryItem]
    next_cursor: NextCursor


class OperatorResult(Answer):
    """A job's result, of any size."""

    result: Annotated[str, Field(description="The result as JSON.")]

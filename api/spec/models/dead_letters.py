"""Models of the operators' answers about dead letters and about their own actions.

Used by `api.spec.operations.dead_letters`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, Field

from api.spec.models.base import ABSENT, Answer, Count, EntryIdText, JobId, NextCursor
from api.spec.models.operators import Milliseconds

OUTCOMES = ("requeued", "discarded", "gone", "not_kept", "invalid_tenant", "failed", "unknown")
"""Possible outcomes of an action on a dead letter."""

Via = Annotated[str, Field(description="`console` or `command`.")]
Actor = Annotated[
    str | None, Field(description="The claim `sub`, or a user of the operating system.")
]
ActorTenant = Annotated[str | None, Field(description="The claim `tenant_id`.")]


class DeadLetter(Answer):
    """A dead letter, without its content."""

    tenant: str
    known_tenant: Annotated[bool, Field(description="Whether the tenant's name is valid.")]
    id: Annotated[EntryIdText, Field(description="The id of the dead letter.")]
    entry_id: Annotated[str, Field(description="The id of the entry that was not applied.")]
    group: Annotated[str, Field(description="The groups that failed to apply it, as one text.")]
    groups: list[str]
    reason: Annotated[str, Field(description="The error in the first group.")]
    detail: str
    deliveries: Count
    rejected_at: AwareDatetime
    bytes: Annotated[Count, Field(description="The original size of the event, in bytes.")]
    sha256: Annotated[
        str | None, Field(description="The hash of an event of which only the beginning was kept.")
    ]
    type: Annotated[str | None, Field(description="The type of the event; null without one.")]
    kind: Annotated[
        str | None, Field(description="The `kind` of the event; `job` if a readable one has none.")
    ]
    job_id: Annotated[str | None, Field(description="The `id` of the event.")]
    job_type: Annotated[str | None, Field(description="The `job_type` of the event.")]
    worker: Annotated[
        str | None, Field(description="The `worker` of the event; null if it names none.")
    ]
    known_job: Annotated[
        bool, Field(description="Whether a job with this tenant, kind and id can exist.")
    ]


class DeadLetterTenant(Answer):
    """A tenant with dead letters."""

    tenant: str
    letters: Count


class DeadLetterList(Answer):
    """A page of dead letters; it may be empty and not the last one, if few match the filters."""

    items: list[DeadLetter]
    next_cursor: NextCursor
    tenants: list[DeadLetterTenant]


class Bytes(Answer):
    """Bytes, as text if they are UTF-8."""

    text: str = ABSENT
    base64: str = ABSENT


class EntryField(Answer):
    """An unexpected field of an entry."""

    name: Bytes
    value: Bytes


class GroupFailure(Answer):
    """The failure of one consumer group to apply an entry."""

    group: str
    reason: str
    detail: str
    deliveries: Count


class DeadLetterDetail(DeadLetter):
    """A dead letter with its content."""

    event: Bytes | None
    cut: Annotated[bool, Field(description="Whether the content is truncated.")]
    others: Annotated[list[EntryField], Field(description="Fields other than `event`.")]
    rejections: Annotated[
        list[GroupFailure], Field(description="The reason of each group that rejected the entry.")
    ]


class Requeued(Answer):
    """The entry was appended again."""

    entry_id: EntryIdText


class Discarded(Answer):
    """The dead letter was deleted permanently."""

    discarded: Literal[True]


class DeadLetterName(Answer):
    """The identity of a dead letter."""

    tenant: str
    id: EntryIdText


class DeadLetterJob(Answer):
    """A job that a dead letter is about."""

    tenant: str
    kind: str
    id: JobId


class DeadLetterJobType(Answer):
    """A job type in the events of dead letters."""

    job_type: str
    letters: Count


class DeadLetterWorker(Answer):
    """A worker that the events of dead letters name."""

    worker: str
    letters: Count


class DeadLetterGroup(Answer):
    """Dead letters that were rejected for the same reason."""

    reason: str
    detail: Annotated[str, Field(description="With `#` for numbers that differ.")]
    type: Annotated[str | None, Field(description="The type of the events; null without one.")]
    letters: Count
    first: AwareDatetime
    last: AwareDatetime
    tenant_count: Count
    tenants: Annotated[
        list[DeadLetterTenant],
        Field(description="At most 50 tenants, those with the most letters first."),
    ]
    job_count: Annotated[Count, Field(description="The distinct jobs of the events.")]
    with_job: Annotated[Count, Field(description="The dead letters that are about a job.")]
    jobs: Annotated[
        list[DeadLetterJob], Field(description="At most 5 jobs, those with the oldest letters.")
    ]
    job_type_count: Count
    with_job_type: Annotated[Count, Field(description="The dead letters that have a job type.")]
    job_types: Annotated[
        list[DeadLetterJobType], Field(description="At most 10, the most frequent ones first.")
    ]
    worker_count: Count
    with_worker: Annotated[Count, Field(description="The dead letters that name a worker.")]
    workers: Annotated[
        list[DeadLetterWorker], Field(description="At most 10, the most frequent ones first.")
    ]
    example: DeadLetterName


class DeadLetterGroups(Answer):
    """Groups of dead letters, as far as this request has examined them."""

    groups: list[DeadLetterGroup]
    letters: Annotated[Count, Field(description="All dead letters that match the filters.")]
    examined: Annotated[Count, Field(description="All dead letters that were examined.")]
    until: Annotated[
        Milliseconds, Field(description="The server's time at the beginning, for actions on them.")
    ]
    next_cursor: NextCursor


class DeadLetterOutcome(DeadLetterName):
    """The outcome of an action on a dead letter."""

    outcome: Annotated[str, Field(json_schema_extra={"enum": list(OUTCOMES)})]
    entry_id: Annotated[str | None, Field(description="The new entry id after requeueing.")]
    detail: str | None


class BulkStep(Answer):
    """The outcomes of one request. Continue with `next_cursor` until it is null."""

    request_id: str
    items: list[DeadLetterOutcome]
    examined: Annotated[Count, Field(description="All dead letters that were examined.")]
    next_cursor: NextCursor


class RequeuedEntry(Answer):
    """The present state of an entry that was appended again."""

    tenant: str
    entry_id: EntryIdText
    state: Annotated[
        Literal["applied", "waiting", "dead"],
        Field(description="`dead` if a group has rejected it again."),
    ]
    reason: str | None
    detail: str | None


class RequeuedEntries(Answer):
    """The present states of entries that were appended again, in the order of the request."""

    items: list[RequeuedEntry]


class OperatorAction(Answer):
    """An action of an operator. Without an outcome it was interrupted, and may have been done."""

    id: Count
    at: AwareDatetime
    request_id: Annotated[str, Field(description="Equal for all steps of a bulk action.")]
    via: Via
    actor: Actor
    actor_tenant: ActorTenant
    address: str | None
    action: str
    tenant: Annotated[str | None, Field(description="Null if it was not limited to a tenant.")]
    target: dict[str, Any]
    ended_at: AwareDatetime | None
    outcome: str | None
    tenants: Annotated[list[str], Field(description="Tenants in which something was changed.")]
    details: dict[str, Any] | None


class ActionOutcome(Answer):
    """An outcome of steps; null of those that were interrupted, and may have been done."""

    outcome: str | None
    steps: Count


class OperatorActionRequest(Answer):
    """An action of an operator with all its consecutive steps, which have one request id."""

    id: Annotated[Count, Field(description="The id of the newest step.")]
    at: Annotated[AwareDatetime, Field(description="The time of the oldest step.")]
    ended_at: AwareDatetime | None
    request_id: str
    via: Via
    actor: Actor
    actor_tenant: ActorTenant
    address: str | None
    action: str
    target: Annotated[dict[str, Any], Field(description="The target of the oldest step.")]
    tenants: Annotated[
        list[str], Field(description="At most 5 tenants to which the steps were limited.")
    ]
    tenant_count: Count
    steps: Annotated[int, Field(ge=1)]
    outcomes: list[ActionOutcome]
    counts: Annotated[dict[str, int], Field(description="What happened to how many things.")]
    whole: Annotated[
        bool, Field(description="Whether all steps are on this page: a page has at most 1,000.")
    ]


class OperatorActionRequests(Answer):
    """A page of actions by request, newest first."""

    items: list[OperatorActionRequest]
    next_cursor: NextCursor


class OperatorActionList(Answer):
    """A page of actions, newest first."""

    items: list[OperatorAction]
    next_cursor: NextCursor

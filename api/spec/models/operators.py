"""Models of the operators' answers about delivery.

Used by `api.spec.models.dead_letters`, `api.spec.models.operator_figures`,
`api.spec.models.operator_jobs` and `api.spec.operations.operators`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from api.spec.models.base import Answer, Count

Seconds = Annotated[float, Field(ge=0)]
Milliseconds = Annotated[int, Field(ge=0, description="Milliseconds since 1970.")]


class OperatorSession(Answer):
    """The caller is an operator."""

    mode: Annotated[
        Literal["jwt", "dev"], Field(description="How the server authenticates callers.")
    ]
    kinds: Annotated[list[str], Field(description="The kinds of jobs that the server knows.")]
    subject: Annotated[str | None, Field(description="The claim `sub` of the caller's token.")]
    may_act: Annotated[
        bool, Field(description="Whether the caller may change something: has the scope `ops`.")
    ]


class GroupSamples(Answer):
    """The samples of one consumer group: one value for each sample, or null."""

    rate: Annotated[list[Seconds | None], Field(description="Entries applied per second.")]
    waiting: Annotated[list[Count | None], Field(description="Entries not delivered yet.")]
    pending: Annotated[
        list[Count | None], Field(description="Entries delivered but not acknowledged.")
    ]
    oldest_seconds: Annotated[
        list[float | None],
        Field(description="The age of the oldest unprocessed entry, in seconds."),
    ]


class Mark(Answer):
    """A moment at which something happened to the deployment."""

    at: Milliseconds
    what: Literal[
        "election", "redis_changed", "database_changed", "consumer_started", "consumer_stopped"
    ]


class Samples(Answer):
    """Samples of delivery, as columns."""

    at: list[Milliseconds]
    groups: dict[str, GroupSamples]
    marks: list[Mark]


class LateGroup(Answer):
    """The tenants that one group is behind with."""

    tenants: Count
    furthest: Annotated[str | None, Field(description="The tenant that is furthest behind.")]


class SampleColumns(Samples):
    """The samples of the last hour."""

    dead: Annotated[
        Count | None, Field(description="The number of dead letters at the last sample.")
    ]
    late: Annotated[
        dict[str, LateGroup], Field(description="The tenants behind at the last sample, by group.")
    ]


class ConsumerHeartbeat(Answer):
    """The last heartbeat of a consumer; one that stopped is kept for an hour."""

    group: str
    name: str
    host: str
    pid: Count
    since: Annotated[Milliseconds, Field(description="When the consumer started.")]
    beat: Annotated[Milliseconds, Field(description="When it sent the heartbeat.")]
    applied: Annotated[Count, Field(description="The entries that it has applied.")]
    left: Annotated[
        Milliseconds | None, Field(description="When it stopped in good order, else null.")
    ]
    waits_for: Annotated[
        str | None, Field(description="The unavailable server that it waits for, else null.")
    ]
    alive: bool


class StalledCount(Answer):
    """The number of stalled jobs."""

    count: Count
    more: Annotated[bool, Field(description="Whether there may be more than were counted.")]
    after_seconds: Annotated[
        Count, Field(description="The time without events after which a job is stalled.")
    ]


class ServerStatus(Answer):
    """The status of a server."""

    name: str
    ok: bool
    description: str
    since: Annotated[
        Milliseconds | None,
        Field(
            description="Since when it is unavailable, as far as this process has seen: other"
            " processes may answer another time. Null if it is available."
        ),
    ]
    refuses_writes: Annotated[
        bool | None,
        Field(
            description="Whether Redis refuses writes, because it lacks memory, disk or replicas."
            " Null for PostgreSQL, and for a server that is unavailable."
        ),
    ]
    used_bytes: Annotated[
        Count | None, Field(description="The memory in use, of the fullest node of a cluster.")
    ]
    max_bytes: Annotated[
        Count | None, Field(description="The limit of that node's memory; null without a limit.")
    ]


class Overview(Answer):
    """The overview; the part of an unavailable server is null."""

    samples: SampleColumns | None
    consumers: list[ConsumerHeartbeat] | None
    stalled: StalledCount | None
    servers: list[ServerStatus]


class GroupLag(Answer):
    """The lag of a consumer group in one tenant's stream."""

    waiting: Count | None
    pending: Count | None
    oldest_seconds: Seconds

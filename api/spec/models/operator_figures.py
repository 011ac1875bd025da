"""Models of figures, charts, tenants and alerts. Used by `api.spec.operations.figures`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, Field

from api.spec.models.base import Answer, Attempt, Count, JobId, NextCursor
from api.spec.models.operator_jobs import KindName, StateName
from api.spec.models.operators import GroupLag, Milliseconds, Samples, Seconds


class StateCounts(Answer):
    """The jobs in each state."""

    queued: Count
    processing: Count
    done: Count
    failed: Count
    cancelled: Count


class RecentCounts(Answer):
    """The jobs that were created and that ended in the last hour."""

    created: Count
    done: Count
    failed: Count
    cancelled: Count


class CodeCount(Answer):
    """The failed jobs with one error code."""

    code: Annotated[str | None, Field(description="The code; null for failures without one.")]
    count: Count


class RecentEnds(Answer):
    """The ends of a job type's jobs in the last five minutes, and its latest failure."""

    done: Count
    failed: Count
    last_failed_at: Annotated[
        Milliseconds, Field(description="The start of the latest minute with a failure.")
    ]


class TypeFigures(Answer):
    """The figures of one job type: now, and over the last hour."""

    kind: str
    job_type: str | None
    queued: Annotated[Count, Field(description="Jobs that are queued now.")]
    processing: Annotated[Count, Field(description="Jobs that are processing now.")]
    created: Count
    finished: Annotated[Count, Field(description="Jobs that were done in the last hour.")]
    failed: Count
    cancelled: Count
    failure_rate: Annotated[
        float | None,
        Field(ge=0, le=1, description="Failed jobs among those that were done or failed."),
    ]
    codes: Annotated[list[CodeCount], Field(description="The most frequent error codes.")]
    p50_seconds: Annotated[
        Seconds | None,
        Field(description="The time from creation to `done` of half of the jobs, within 9 %."),
    ]
    p95_seconds: Annotated[Seconds | None, Field(description="The same of 95 % of the jobs.")]
    recent: Annotated[
        RecentEnds | None, Field(description="Null if none of them failed in the last hour.")
    ]


class StalledFigures(Answer):
    """The stalled jobs among those that have been running the longest."""

    count: Count
    lately: Annotated[Count, Field(description="Those that stalled in the last hour.")]
    more: Annotated[bool, Field(description="Whether there may be more than were counted.")]
    after_seconds: Count


class RunningJob(Answer):
    """A job that is processing."""

    tenant: str
    kind: str
    id: JobId
    job_type: str | None
    attempt: Attempt
    worker: str | None
    progress: dict[str, Any] | None
    started_at: AwareDatetime | None


class Figures(Answer):
    """The figures of all jobs."""

    since: Annotated[Milliseconds, Field(description="The start of the last hour.")]
    now: StateCounts
    lately: RecentCounts
    types: Annotated[
        list[TypeFigures], Field(description="The types with the most jobs in the last hour.")
    ]
    more_types: Annotated[bool, Field(description="Whether there are more types, or rarer codes.")]
    stalled: StalledFigures
    slowest: Annotated[
        list[RunningJob], Field(description="The jobs that have been running the longest.")
    ]


class MinuteSeries(Answer):
    """The jobs that were created and that ended in one minute of each step of time."""

    created: list[Count]
    done: list[Count]
    failed: list[Count]
    cancelled: list[Count]


class JobSeries(Answer):
    """The jobs that were created and that ended in each step of time."""

    at: Annotated[list[Milliseconds], Field(description="The start of each step.")]
    created: list[Count]
    done: list[Count]
    failed: list[Count]
    cancelled: list[Count]
    most: Annotated[
        MinuteSeries, Field(description="The minute of each step with the most, of each figure.")
    ]


class Charts(Answer):
    """Series over one span of time."""

    since: Milliseconds
    until: Milliseconds
    step_seconds: Annotated[Count, Field(description="The length of a step of `jobs`.")]
    jobs: JobSeries | None
    delivery: Samples | None


class StreamSize(Answer):
    """The size of a tenant's stream in Redis."""

    entries: Count
    bytes: Count


class Tenant(Answer):
    """A tenant; what an unavailable server knows of it is null."""

    tenant: str
    groups: dict[str, GroupLag] | None
    per_minute: Annotated[
        dict[str, Annotated[float, Field(ge=0)]] | None,
        Field(description="Entries applied per minute, by group."),
    ]
    dead: Count | None
    stream: StreamSize | None
    behind_seconds: Annotated[
        Seconds | None,
        Field(description="The age of the oldest unprocessed entry; 0 if not behind."),
    ]
    failed: Annotated[
        Count | None,
        Field(description="The jobs that failed in the present hour and the 23 before it."),
    ]
    jobs: Annotated[Count | None, Field(description="The jobs that are stored.")]
    result_bytes: Annotated[Count | None, Field(description="The size of their results.")]


class TenantList(Answer):
    """A page of tenants."""

    items: list[Tenant]
    next_cursor: NextCursor
    count: Annotated[Count, Field(description="The tenants that match.")]
    listed: Annotated[
        Count,
        Field(
            description="Those of them that the pages list: of the tenants that are behind, the "
            "1,000 that are furthest behind."
        ),
    ]
    known: Annotated[Count, Field(description="All tenants that are known.")]
    missing: Annotated[list[str], Field(description="The servers that are unavailable.")]


class KindState(Answer):
    """The jobs of one kind in one state."""

    kind: KindName
    state: StateName
    count: Count


class HourFailures(Answer):
    """The jobs that failed in one hour."""

    at: Milliseconds
    failed: Count


class StoredJobs(Answer):
    """The stored jobs of a tenant."""

    states: list[KindState]
    result_bytes: Count
    failures: Annotated[
        list[HourFailures], Field(description="Hours without failures are left out.")
    ]


class SourceType(Answer):
    """The jobs of one type."""

    kind: KindName
    job_type: str | None
    jobs: Count


class SourceWorker(Answer):
    """The jobs of one worker."""

    worker: str
    jobs: Count


class Sources(Answer):
    """The sources of a tenant's newest jobs."""

    since: Annotated[Milliseconds, Field(description="The start of the last ten minutes.")]
    jobs: Annotated[Count, Field(description="The jobs that were created since and counted.")]
    more: Annotated[bool, Field(description="Whether only the newest ones were counted.")]
    types: Annotated[list[SourceType], Field(description="The types with the most of them.")]
    workers: Annotated[list[SourceWorker], Field(description="The workers with the most of them.")]


class StoredTenantJobs(StoredJobs):
    """The stored jobs of a tenant, and where the newest ones come from."""

    sources: Sources


class UnusualActivity(Answer):
    """When the activity of a tenant was unusual, lately."""

    since: Milliseconds
    until: Annotated[Milliseconds | None, Field(description="Null while it goes on.")]
    usual: Annotated[Seconds, Field(description="The usual entries a minute.")]
    most: Annotated[Seconds, Field(description="The most entries a minute meanwhile.")]


class TenantHistory(Answer):
    """The last hour of a tenant, with a value for each minute; null where it is not known."""

    at: list[Milliseconds]
    per_minute: Annotated[list[Seconds | None], Field(description="Entries that were applied.")]
    late_seconds: Annotated[
        list[Seconds | None], Field(description="The highest age of an unprocessed entry.")
    ]
    unusual: UnusualActivity | None


class TenantDetail(Tenant):
    """One tenant with its stored jobs."""

    stored: StoredTenantJobs | None
    history: TenantHistory | None
    redis_bytes: Annotated[Count | None, Field(description="The memory that Redis uses.")]
    all_result_bytes: Annotated[
        Count | None, Field(description="The size of the results of all tenants.")
    ]
    missing: Annotated[list[str], Field(description="The servers that are unavailable.")]


class Issue(Answer):
    """Something that was wrong; what does not apply to its cause is null."""

    cause: Literal[
        "behind",
        "no_consumer",
        "no_sample",
        "refused",
        "redis_restarted",
        "database_away",
        "dead",
        "silent",
        "failing",
    ]
    begin: Milliseconds
    end: Annotated[Milliseconds | None, Field(description="Null while it goes on.")]
    group: str | None
    worst: Annotated[
        float | None,
        Field(description="The most seconds behind, dead letters or silent jobs."),
    ]
    tenants: Annotated[Count | None, Field(description="The most tenants that were behind.")]
    tenant: Annotated[str | None, Field(description="The one that was furthest behind.")]
    kind: str | None
    job_type: str | None
    code: Annotated[str | None, Field(description="The most frequent error code.")]
    failed: Annotated[Count | None, Field(description="The jobs of the type that failed.")]
    ended: Annotated[Count | None, Field(description="Those that failed or were done.")]


class IssueList(Answer):
    """The issues of the last day, those that began last first."""

    since: Milliseconds
    until: Milliseconds
    issues: list[Issue]
    more: Annotated[bool, Field(description="Whether there were earlier ones.")]
    missing: Annotated[
        list[str], Field(description="The servers that are unavailable, with the issues they know.")
    ]


class Alert(Answer):
    """An alert of Prometheus."""

    name: str
    state: Annotated[str, Field(description="`pending` or `firing`.")]
    pages: Annotated[bool, Field(description="Whether somebody is paged.")]
    since: Milliseconds
    summary: str


class AlertList(Answer):
    """The alerts, those that page somebody first."""

    configured: Annotated[bool, Field(description="Whether a Prometheus is configured.")]
    error: Annotated[str | None, Field(description="Why the alerts are unknown.")]
    alerts: list[Alert]

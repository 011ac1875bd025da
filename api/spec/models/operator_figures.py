"""Models of figures, charts, tenants and alerts. Used by `api.spec.operations.figures`."""

from __future__ import annotations

from typing import Annotated, Any

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


class JobSeries(Answer):
    """The jobs that were created and that ended in each step of time."""

    at: Annotated[list[Milliseconds], Field(description="The start of each step.")]
    created: list[Count]
    done: list[Count]
    failed: list[Count]
    cancelled: list[Count]


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
    per_minute: dict[str, Seconds] | None
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


class TenantDetail(Tenant):
    """One tenant with its stored jobs."""

    stored: StoredJobs | None
    missing: Annotated[list[str], Field(description="The servers that are unavailable.")]


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

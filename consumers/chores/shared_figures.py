"""The forms of the figures that consumers write to Redis for each other and for operators.

Used by `consumers.chores.heartbeat` and `consumers.chores.samples`, which write the figures, and by
`ops.operator_view`, which reads them, and also by `ops.operator_issues`. Other programs can write
these keys too: a value of another form is skipped, and neither a consumer nor a page of the console
fails because of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError


class SharedFigure(BaseModel):
    """A JSON object with exactly these types; fields of newer versions are ignored."""

    model_config = ConfigDict(strict=True, frozen=True)


class Beat(SharedFigure):
    """A heartbeat: one consumer's description of itself; times are milliseconds since 1970."""

    group: str
    name: str
    host: str
    pid: int
    since: int
    beat: int
    applied: int
    left: int | None = None
    """When the consumer stopped in good order; None while it runs, or if it was killed."""
    waits_for: str | None = None
    """The unavailable server that the consumer waits for, as metrics name it."""
    unsettled: list[str] = []
    """Tenants whose entries wait with it."""


class GroupSample(SharedFigure):
    """One group's figures in a sample."""

    waiting: int
    pending: int
    oldest_ms: int | None
    applied: int
    # Not in samples of earlier versions:
    behind: int = 0
    """The tenants that are behind."""
    furthest: str | None = None
    """The one of them that is furthest behind."""
    rate: float | None = None
    """The most entries that were applied per second; only in samples of a minute."""


class Sample(SharedFigure):
    """The figures of all groups at one time, in milliseconds since 1970.

    A sample of a minute has the highest values of that minute.
    """

    at: int
    groups: dict[str, GroupSample]
    # What operations changed, so that a chart can mark when: None in samples of earlier versions.
    sampler: str | None = None
    """The consumer that was elected to take samples."""
    redis: str | None = None
    """The ids of Redis's processes, which a restart or a failover changes."""
    database: str | None = None
    """The PostgreSQL server and timeline that rows were last written to."""
    started: int | None = None
    """When the newest consumer started, in milliseconds since 1970."""
    stopped: int | None = None
    """When the last consumer stopped in good order, in milliseconds since 1970."""
    missing: list[str] = []
    """The groups without a consumer that is alive."""
    dead: int | None = None
    """The dead letters of all tenants."""
    refused: int | None = None
    """The writes that Redis has refused since it started, for want of memory, disk or replicas."""
    silent: int | None = None
    """The jobs that are processing, but silent; None if that is unknown."""
    database_away: bool = False
    """True if a consumer waits for PostgreSQL."""


class DatabaseFigures(SharedFigure):
    """The state of PostgreSQL as the elected consumer of the group `rows` last saw it."""

    at: int
    away: bool
    """True if PostgreSQL was unavailable."""
    silent: int | None
    """The jobs that are processing, but silent; None if that is unknown."""


class Behind(SharedFigure):
    """The tenants that were furthest behind at the last sample, the furthest first."""

    at: int
    tenants: list[str]
    count: int | None = None
    """The tenants that are behind, also those that are not listed; None in earlier versions."""


class TenantMinute(SharedFigure):
    """The figures of the most active tenants, and of those behind, at one time of a minute."""

    at: int
    activity: dict[str, float]
    """The activity of the most active tenants, just before it decays (`activity.DECAY`)."""
    late: dict[str, float]
    """The highest age of the oldest unsettled entry since the last minute, in seconds."""


_Form = TypeVar("_Form", bound=SharedFigure)


def valid_figures(form: type[_Form], texts: Iterable[bytes]) -> Iterator[_Form]:
    """Yield those of the JSON texts that have the form."""
    for text in texts:
        try:
            yield form.model_validate_json(text)
        except ValidationError:
            continue


def count_of(text: bytes) -> int:
    """Return the number that a text of up to 19 digits stands for, or 0 for any other text."""
    return int(text) if text.isdigit() and len(text) < 20 else 0

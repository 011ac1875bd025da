"""Failed jobs of all tenants, grouped by the code and the text of their errors.

A statement examines a bounded window: the newest failed jobs by their index, those of a tenant by
its index, or the first jobs whose id has a prefix. So the cost does not grow with the number of
jobs, nor with that of failed ones: 5,000 failed jobs take PostgreSQL about 60 ms. Used by
`api.operators.jobs`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from projections.reading.all_tenants.job_list import WINDOW_BY_ID, OperatorFilter
from projections.reading.all_tenants.transaction import fetch_all, read_transaction
from sql import queries
from streams.kinds import KINDS

_QUERIES = queries("console")

WINDOW = 5_000
"""Failed jobs that are examined."""
MAX_GROUPS = 20
"""The most groups of an answer, those with the most jobs."""


class FailureGroup(NamedTuple):
    """Failed jobs with errors of the same code and text."""

    code: str | None
    text: str | None
    """The beginning of the error, with `#` for numbers that differ."""
    jobs: int
    tenants: int
    first: datetime | None
    """When the first of them failed; None without jobs."""
    last: datetime | None
    job_types: int
    job_type: str | None
    """One of the job types."""
    workers: int
    worker: str | None
    """One of the workers."""


class Failures(NamedTuple):
    """Failed jobs that pass the filters."""

    total: FailureGroup
    groups: Sequence[FailureGroup]
    examined: int
    """The jobs of the window, also those that do not pass."""
    since: datetime | None
    """The creation time of the oldest of these; None without any."""
    more: bool
    """True if there may be more jobs outside the window."""


async def read_failures(
    connection: AsyncConnection[Any], wanted: OperatorFilter, window: int = WINDOW
) -> Failures:
    """Return the failed jobs that pass the filters, as far as one window has them.

    The filter by state does not apply.

    Raises:
        psycopg.Error: the database is away, or the statement exceeded its time limit.
    """
    name = "failures" if wanted.tenant is None else "failures_of_tenant"
    if wanted.prefix is not None:
        name, window = "failures_by_id", min(window, WINDOW_BY_ID)
    values = {
        **wanted._asdict(),
        "state": None,
        "since": wanted.since or "-infinity",
        "until": wanted.until or "infinity",
        "of_tenant": wanted.tenant,
        "of_kind": wanted.kind,
        "kinds": list(KINDS) if wanted.kind is None else [wanted.kind],
        "window": window,
        "limit": 1 + MAX_GROUPS,
    }
    async with read_transaction(connection):
        rows = await fetch_all(connection, _QUERIES[name], values)
    total, *groups = (FailureGroup(*row[:-2]) for row in rows)
    examined, since = rows[0][-2:]
    return Failures(total, groups, examined, since, examined >= window)

"""Stalled jobs of all tenants: processing, and without an event for a long time.

An index finds the running jobs by their start, and a bounded number of them is examined, those that
started first. So the cost does not grow with the number of jobs, nor with that of running ones.
Used by `api.operators.jobs`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from psycopg import AsyncConnection

from projections.reading.all_tenants.figures import MAX_EXAMINED
from projections.reading.all_tenants.transaction import (
    fetch_all,
    fetch_one,
    json_value,
    read_transaction,
)
from sql import queries
from streams.keys import JobKey

_QUERIES = queries("console")

_COLUMNS = "tenant kind id job_type attempt worker progress updated_at heard_ms".split()


class StalledCount(NamedTuple):
    """The number of stalled jobs among the running jobs that were examined."""

    stalled: int
    examined: int

    @property
    def more(self) -> bool:
        """True if there may be more stalled jobs than were counted."""
        return self.examined >= MAX_EXAMINED


async def list_stalled(
    connection: AsyncConnection[Any],
    before_ms: int,
    after: tuple[int, JobKey] | None,
    limit: int,
) -> list[dict[str, Any]]:
    """Return jobs whose last event is older than a moment, the longest silent first.

    Args:
        connection: a connection that is not in a transaction.
        before_ms: the moment, in milliseconds since 1970.
        after: `heard_ms` and key of the last job of the previous page; None for the first page.
        limit: the most jobs to return.

    Returns:
        The rows by column; `heard_ms` is the time of the last event, in milliseconds since 1970.
    """
    heard, job = after or (-1, JobKey("", "", ""))
    values = {
        "before": before_ms,
        "examined": MAX_EXAMINED,
        "ms": heard,
        **job._asdict(),
        "limit": limit,
    }
    async with read_transaction(connection):
        rows = await fetch_all(connection, _QUERIES["stalled"], values)
    jobs = [dict(zip(_COLUMNS, row, strict=True)) for row in rows]
    return [each | {"progress": json_value(each["progress"])} for each in jobs]


async def count_stalled(connection: AsyncConnection[Any], before_ms: int) -> StalledCount:
    """Return the number of jobs whose last event is older than a moment."""
    values = {"before": before_ms, "examined": MAX_EXAMINED}
    async with read_transaction(connection):
        return StalledCount(*await fetch_one(connection, _QUERIES["count_stalled"], values))

"""Job types that failed in the last day: from when to when, and with which error code.

Read from the figures by minute that triggers keep (migration 0011), never from the jobs. The cost
is that of the chart of a day: it grows with the types, codes and minutes. Used by
`api.operators.figures.issues`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from projections.reading.all_tenants.transaction import fetch_all, read_transaction
from sql import queries

_QUERIES = queries("figures")

MIN_FAILED, MIN_SHARE = 5, 0.2
"""A job type fails in a minute if in the last five minutes so many of its jobs failed, and such a
share of those that ended."""
MAX_ROWS = 5_000
"""The most minutes that are read, the latest ones."""
MINUTE_MS = 60_000
RECENT_MS = 5 * MINUTE_MS
"""Minutes that are further apart belong to two issues; also the time after the last minute with
failures in which an issue goes on."""

Json = dict[str, Any]


class _Minute(NamedTuple):
    """One minute in which a job type failed."""

    kind: str
    job_type: str
    at: int
    began: int
    """The first of the five minutes in which the share was reached; single failures are usual."""
    failed: int
    ended: int
    failed_lately: int
    ended_lately: int
    code: str | None


async def read_failing(
    connection: AsyncConnection[Any], since: datetime, now_ms: int
) -> list[Json]:
    """Return when job types failed since a time; the end of what goes on is None."""
    values = {"since": since, "failed": MIN_FAILED, "share": MIN_SHARE, "limit": MAX_ROWS}
    async with read_transaction(connection):
        rows = await fetch_all(connection, _QUERIES["failing"], values)
    minutes = sorted(_Minute(*row) for row in rows)
    return [
        _issue(run, now_ms)
        for _, found in groupby(minutes, lambda each: (each.kind, each.job_type))
        for run in _runs(list(found))
    ]


def _runs(minutes: Sequence[_Minute]) -> Iterator[list[_Minute]]:
    """Yield the minutes that belong together."""
    run: list[_Minute] = []
    for each in minutes:
        if run and each.at - run[-1].at > RECENT_MS:
            yield run
            run = []
        run.append(each)
    yield run


def _issue(run: Sequence[_Minute], now_ms: int) -> Json:
    codes = Counter[str]()
    for each in run:
        codes[each.code or ""] += each.failed
    first, last = run[0], run[-1].at + MINUTE_MS
    return {
        "cause": "failing",
        "begin": first.began,
        "end": None if now_ms - last < RECENT_MS else last,
        "kind": first.kind,
        "job_type": first.job_type or None,
        "code": max(codes, key=lambda code: codes[code]) or None,
        # With those of the minutes before the first one, which made it one.
        "failed": first.failed_lately + sum(each.failed for each in run[1:]),
        "ended": first.ended_lately + sum(each.ended for each in run[1:]),
    }

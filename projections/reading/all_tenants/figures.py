"""Figures of the jobs of all tenants: their numbers, their ends, their durations.

Triggers count each change of `jobs` in the transaction that makes it (migration 0011), so a read
adds up small tables and never reads the jobs themselves. The longest running jobs come from an
index, and a bounded number of them is examined. Used by `api.operators.figures.jobs`,
`api.operators.figures.tenants` and `projections.reading.all_tenants.stalled_jobs`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from projections.reading.all_tenants.transaction import fetch_all, json_value, read_transaction
from sql import queries
from streams.kinds import KINDS

_QUERIES = queries("figures")

MAX_ROWS = 5_000
"""The most rows of figures that are read; those of rare job types and error codes are left out."""
MAX_TYPES = 50
"""The most job types of an answer, those with the most jobs."""
MAX_CODES = 5
"""The most error codes of one type."""
MAX_EXAMINED = 5_000
"""The running jobs that are examined, those that started first."""
RECENT = timedelta(minutes=5)
"""The time over which the latest ends of a type are counted."""
MAX_TENANTS = 100_000
"""The most tenants whose figures are read."""
MAX_SOURCE_JOBS = 2_000
"""The jobs of one tenant and kind whose types and workers are counted: the newest ones."""
MAX_SOURCES = 5
"""The job types, and the workers, that are returned: those with the most jobs."""

ENDS = ("done", "failed", "cancelled")
STATES = ("queued", "processing", *ENDS)

_RUNNING = "tenant kind id job_type attempt worker progress started_at".split()
_STEPS_A_DOUBLING = 4
_SMALLEST_SECONDS = 0.001

Json = dict[str, Any]


class RunningJobs(NamedTuple):
    """The jobs that have been running the longest."""

    slowest: Sequence[Json]
    examined: int
    stalled: int
    """The number of stalled jobs among them."""
    stalled_lately: int
    """The number of those that are stalled only since `lately_ms`; see `read_running`."""


async def read_figures(connection: AsyncConnection[Any], since: datetime) -> Json:
    """Return the figures of all jobs, now and since a time, and those of each type.

    The ends of each type are also counted over the last `RECENT` of that time, in whole minutes.
    """
    values = {"since": since, "limit": MAX_ROWS, "recent": datetime.now(UTC) - RECENT}
    async with read_transaction(connection):
        rows = await fetch_all(connection, _QUERIES["figures"], values)
        recent = await fetch_all(connection, _QUERIES["recent"], values)
    failing = {
        (kind, job_type): {"done": done, "failed": failed, "last_failed_at": last}
        for kind, job_type, done, failed, last in recent
    }
    overall: dict[bool, dict[str, int]] = {False: {}, True: {}}
    types: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for lately, kind, job_type, figure, detail, n in rows:
        if kind is None:
            overall[lately][figure] = n
        else:
            types[kind, job_type].append((lately, figure, detail, n))
    of_types = [
        _of_type(*key, found) | {"recent": failing.get(key)} for key, found in types.items()
    ]
    of_types.sort(key=lambda each: (-each["finished"] - each["failed"], -each["processing"]))
    return {
        "now": {state: overall[False].get(state, 0) for state in STATES},
        "lately": {name: overall[True].get(name, 0) for name in ("created", *ENDS)},
        "types": of_types[:MAX_TYPES],
        "more_types": len(of_types) > MAX_TYPES or len(rows) == MAX_ROWS,
    }


def _of_type(kind: str, job_type: str, rows: Sequence[Any]) -> Json:
    """Return the figures of one job type from its rows (lately, figure, detail, number)."""
    now, lately = dict.fromkeys(STATES, 0), dict.fromkeys(("created", *ENDS), 0)
    codes, took = dict[str, int](), dict[int, int]()
    for is_lately, figure, detail, n in rows:
        if figure == "took":
            took[int(detail)] = n
        elif not is_lately:
            now[figure] = n
        else:
            lately[figure] += n
            if figure == "failed":
                codes[detail] = n
    ended = lately["done"] + lately["failed"]
    return {
        "kind": kind,
        "job_type": job_type or None,
        "queued": now["queued"],
        "processing": now["processing"],
        "created": lately["created"],
        "finished": lately["done"],
        "failed": lately["failed"],
        "cancelled": lately["cancelled"],
        "failure_rate": lately["failed"] / ended if ended else None,
        "codes": [
            {"code": code or None, "count": codes[code]}
            for code in sorted(codes, key=lambda code: -codes[code])[:MAX_CODES]
        ],
        "p50_seconds": percentile(took, 0.5),
        "p95_seconds": percentile(took, 0.95),
    }


def percentile(took: Mapping[int, int], share: float) -> float | None:
    """Return the duration in seconds below which a share of the jobs finished; None without jobs.

    Args:
        took: the number of jobs by step; a step is a quarter of a doubling, so that the result is
            at most 9 % off.
        share: the share, from 0 to 1.
    """
    steps = sorted(step for step, count in took.items() if count > 0)
    sums = list(accumulate(took[step] for step in steps))
    if not sums:
        return None
    found = steps[bisect_left(sums, share * sums[-1])]
    seconds = _SMALLEST_SECONDS * 2 ** ((found + 0.5) / _STEPS_A_DOUBLING)
    return float(f"{seconds:.3g}")


async def read_series(
    connection: AsyncConnection[Any], since: datetime, step_seconds: int
) -> list[tuple[int, str, int, int]]:
    """Return rows of what happened since a time, by step of time and figure.

    A row has the start of the step in ms, the figure, the number, and that of the minute of the
    step with the most.
    """
    values = {"since": since, "step": step_seconds}
    async with read_transaction(connection):
        return await fetch_all(connection, _QUERIES["series"], values)


async def read_running(
    connection: AsyncConnection[Any], before_ms: int, lately_ms: int, limit: int
) -> RunningJobs:
    """Return the jobs that have been running the longest, and how many of them are stalled.

    Args:
        connection: a connection that is not in a transaction.
        before_ms: a job is stalled if its last event is older, in ms since 1970.
        lately_ms: a stalled job is stalled only lately if its last event is not older than this.
        limit: the most jobs to return.
    """
    values = {
        "before": before_ms,
        "lately": lately_ms,
        "examined": MAX_EXAMINED,
        "limit": limit,
    }
    async with read_transaction(connection):
        rows = await fetch_all(connection, _QUERIES["running"], values)
    jobs = [dict(zip(_RUNNING, row[:-3], strict=True)) for row in rows]
    return RunningJobs(
        [each | {"progress": json_value(each["progress"])} for each in jobs],
        *(rows[0][-3:] if rows else (0, 0, 0)),
    )


async def read_tenants(
    connection: AsyncConnection[Any], since: datetime
) -> dict[str, tuple[int, int, int]]:
    """Return each tenant's stored jobs, the bytes of their results, and failures since a time."""
    values = {"since": since, "limit": MAX_TENANTS}
    async with read_transaction(connection):
        rows = await fetch_all(connection, _QUERIES["tenants"], values)
    return {tenant: (jobs, max(0, size), max(0, failed)) for tenant, jobs, size, failed in rows}


async def read_tenant(connection: AsyncConnection[Any], tenant: str, since: datetime) -> Json:
    """Return a tenant's jobs by kind and state, the bytes of their results, and hourly failures."""
    async with read_transaction(connection):
        rows = await fetch_all(connection, _QUERIES["tenant"], {"tenant": tenant, "since": since})
    states = [
        {"kind": kind, "state": figure, "count": n}
        for hour, kind, figure, n in rows
        if hour is None and figure != "bytes"
    ]
    hours: dict[int, int] = defaultdict(int)
    for hour, _, _, n in rows:
        if hour is not None:
            hours[hour] += n
    size = sum(n for hour, _, figure, n in rows if hour is None and figure == "bytes")
    failures = [{"at": hour, "failed": hours[hour]} for hour in sorted(hours)]
    return {"states": states, "result_bytes": size, "failures": failures}


async def read_sources(connection: AsyncConnection[Any], tenant: str, since: datetime) -> Json:
    """Return the types and workers of a tenant's jobs that were created since a time.

    The newest `MAX_SOURCE_JOBS` of each kind are counted, found by the index of lists.
    """
    values = {
        "tenant": tenant,
        "kinds": list(KINDS),
        "since": since,
        "examined": MAX_SOURCE_JOBS,
        "limit": 2 * MAX_SOURCE_JOBS * len(KINDS),
    }
    async with read_transaction(connection):
        rows = await fetch_all(connection, _QUERIES["sources"], values)
    types = [
        {"kind": kind, "job_type": name, "jobs": n} for kind, name, n in rows if kind is not None
    ]
    workers = [{"worker": name, "jobs": n} for kind, name, n in rows if kind is None and name]
    jobs = sum(each["jobs"] for each in types)
    return {
        "since": int(since.timestamp() * 1000),
        "jobs": jobs,
        "more": jobs >= MAX_SOURCE_JOBS,
        "types": types[:MAX_SOURCES],
        "workers": workers[:MAX_SOURCES],
    }

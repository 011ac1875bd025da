"""Measured costs, each with its source: CPU microseconds, bytes.

`python -m benchmarks.costs` and `python -m benchmarks size` measure the CPU times again;
`docs/benchmarks.md` has the others. They are those of one machine (two cores, Redis 8.2, PostgreSQL
18): measure those of yours if they matter. Used by `ops.tasks.sizing.model`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

MICROSECONDS, EACH_SECOND, BYTES = "µs", "µs/s", "bytes"
_COSTS = "`python -m benchmarks.costs`"
_PAGE = "benchmarks.md"


class Cost(NamedTuple):
    """One figure: CPU time for one of something, CPU time a second, or bytes."""

    value: float
    unit: str
    meaning: str
    source: str


def _cpu(value: float, meaning: str) -> Cost:
    return Cost(value, MICROSECONDS, meaning, _COSTS)


def _batch(value: float, meaning: str) -> Cost:
    return Cost(value, MICROSECONDS, meaning, "`python -m benchmarks size`, at 20 to 100 events/s")


def _idle(value: float, meaning: str, source: str = _COSTS) -> Cost:
    return Cost(value, EACH_SECOND, meaning, source)


def _bytes(value: float, meaning: str, source: str = _PAGE) -> Cost:
    return Cost(value, BYTES, meaning, source)


COSTS: Mapping[str, Cost] = {
    "append_worker": _cpu(107.0, "append one event: the worker"),
    "append_redis": _cpu(35.0, "append one event: Redis"),
    "status_event": _cpu(6.5, "project one event into Redis: a consumer of status"),
    "status_event_redis": _cpu(2.9, "project one event into Redis: Redis"),
    "status_batch": _batch(1300.0, "each batch of status beside its events: the consumer"),
    "status_batch_redis": _batch(330.0, "each batch of status beside its events: Redis"),
    "rows_event": _cpu(11.1, "project one event into PostgreSQL: a consumer of rows"),
    "rows_event_redis": _cpu(1.8, "project one event into PostgreSQL: Redis"),
    "rows_event_postgres": _cpu(9.0, "project one event into PostgreSQL: PostgreSQL"),
    "rows_batch": _batch(2170.0, "each batch of rows beside its events: the consumer"),
    "rows_batch_redis": _batch(350.0, "each batch of rows beside its events: Redis"),
    "rows_batch_postgres": _batch(1700.0, "each batch of rows beside its events: PostgreSQL"),
    "poll_api": _cpu(45.8, "one poll of a job: the API"),
    "poll_redis": _cpu(3.1, "one poll of a job: Redis"),
    "delivery_api": Cost(154.0, MICROSECONDS, "one change to one viewer: the API", _PAGE),
    "status_idle": _idle(1830.0, "a consumer of status without work"),
    "rows_idle": _idle(1720.0, "a consumer of rows without work"),
    "api_idle": _idle(380.0, "an API process without requests"),
    "process_redis": _idle(1250.0, "a process without work: Redis"),
    "tenant_consumer": _idle(0.7, "an idle tenant: the consumer that sweeps", _PAGE),
    "tenant_redis": _idle(1.4, "an idle tenant: Redis", _PAGE),
    "redis_bytes_event": _bytes(270, "one event in its stream"),
    "redis_bytes_job": _bytes(891, "one job's documents, and its part of the feed"),
    "redis_bytes_tenant": _bytes(
        1_600, "one tenant: an empty stream, its groups, feed", "MEMORY USAGE"
    ),
    "postgres_bytes_event": _bytes(640, "one event in the history, with its indexes"),
    "postgres_bytes_job": _bytes(1_536, "one job's row, with its facets and indexes"),
    "api_bytes_viewer": _bytes(27_000, "one live stream or held poll, in the memory of the API"),
}


def cost(name: str) -> float:
    """Return the value of a figure."""
    return COSTS[name].value

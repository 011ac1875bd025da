"""The needs of a load by the measured costs: processes, servers, memory, bytes and connections.

Processes, connections and CPU follow from the rate and the viewers of a busy hour, and CPU also
from the tenants. Bytes follow from the jobs of a day, which the rate limits, and in Redis also from
the rate and the tenants. Costs are microseconds or bytes. Used by `ops.commands.size` and
`ops.tasks.sizing.report`.
"""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

from ops.tasks.sizing.costs import cost

EVENT_COSTS = {
    "status": ("status_event", "status_event_redis"),
    "rows": ("rows_event", "rows_event_redis", "rows_event_postgres"),
}
"""Names of the costs of an event in a full batch, by group."""
GROUPS = tuple(EVENT_COSTS)
BUSY = 0.6
"""The share of a core that a process may use: above it, queues and latencies grow quickly."""
LEAST = 2
"""Processes of each part, so that one machine may fail."""
DAY = 86_400
EVENTS_A_JOB = 10
"""Events of a job with seven steps."""
SECONDS_BETWEEN_LOOKS = 2.0
"""Seconds between two polls of a viewer, or between two changes delivered to it."""
BATCHES_A_SECOND = 200
"""The most batches that a consumer settles in a second; at higher rates they are larger."""
ENDED_KEEP_SECONDS = DAY
"""The age at which ended documents are deleted, where JOBTRAIL_ENDED_TTL_SECONDS is not set."""
HISTORY_KEEP_DAYS = 365
"""The age at which the history is deleted, where JOBTRAIL_HISTORY_KEEP_DAYS is not set."""
MEMORY_SHARE = 0.5
"""The part of a Redis server's memory that may hold data; a rewrite of its file needs the rest."""

REDIS_MEMORY_BYTES = 64 * 2**30
POSTGRES_CORES = 16
POSTGRES_CONNECTIONS = 200
POSTGRES_DISK_BYTES = 16 * 2**40
VIEWERS_A_PROCESS = 5_000
"""Viewers of one API process: a quarter of a GiB, and at most `BUSY` of a core."""
CONNECTIONS_A_CONSUMER = 2
CONNECTIONS_AN_API = 6
"""Its pool for frontends, and that of operators."""
CONNECTIONS_OF_OPERATORS = 2


class Load(NamedTuple):
    """The work that is to be done, and the time for which data is kept."""

    tenants: int
    events_per_second: float
    viewers: int
    jobs_per_day: float
    stream_keep_seconds: int = DAY
    ended_keep_seconds: int = ENDED_KEEP_SECONDS
    history_keep_days: int = HISTORY_KEEP_DAYS

    @property
    def events_a_day(self) -> float:
        """The events of a day's jobs; no more than the rate of the busy hour allows."""
        return min(self.jobs_per_day * EVENTS_A_JOB, self.events_per_second * DAY)

    @property
    def events_in_streams(self) -> float:
        """The most events that are in the streams at a time."""
        days = max(1.0, self.stream_keep_seconds / DAY)
        return min(self.events_per_second * self.stream_keep_seconds, self.events_a_day * days)


class Part(NamedTuple):
    """Processes of one part of jobtrail."""

    processes: int
    cores: float
    """CPU that all of them use together."""


class Limit(NamedTuple):
    """One limit of one server."""

    engine: str
    what: str
    share: float
    """The part of it that the load takes; above 1, one server does not suffice."""


class FirstLimit(NamedTuple):
    """The limit that is reached first where all parts of a load grow alike."""

    engine: str
    what: str
    growth: float
    """The load at which it is reached, as a multiple of the given one."""


class Size(NamedTuple):
    """The needs of a load."""

    load: Load
    consumers: dict[str, Part]
    api: Part
    redis_cores: float
    redis_primaries: int
    redis_bytes: float
    postgres_cores: float
    postgres_bytes_a_day: float
    postgres_bytes: float
    connections: int
    limits: list[Limit]
    """The limits of one Redis and one PostgreSQL, the largest share at the head."""


def size(load: Load, least: int = LEAST) -> Size:
    """Return what a load needs, with at least so many processes of each part."""
    consumers = {group: _consumers(group, load, least) for group in GROUPS}
    api = _api(load, least)
    processes = api.processes + sum(part.processes for part in consumers.values())
    redis_cores, redis_bytes = _redis_cores(load, processes), _redis_bytes(load)
    postgres_cores = _projecting_cores(load, "rows", "_postgres")
    a_day = load.events_a_day * cost("postgres_bytes_event")
    a_day += load.jobs_per_day * cost("postgres_bytes_job")
    connections = (
        CONNECTIONS_OF_OPERATORS
        + consumers["rows"].processes * CONNECTIONS_A_CONSUMER
        + api.processes * CONNECTIONS_AN_API
    )
    kept = a_day * load.history_keep_days
    shares = [
        Limit("Redis", "CPU of its one thread", redis_cores / BUSY),
        Limit("Redis", "memory", redis_bytes / (REDIS_MEMORY_BYTES * MEMORY_SHARE)),
        Limit("PostgreSQL", "CPU", postgres_cores / (POSTGRES_CORES * BUSY)),
        Limit("PostgreSQL", "disk", kept / POSTGRES_DISK_BYTES),
        Limit("PostgreSQL", "connections without a pooler", connections / POSTGRES_CONNECTIONS),
    ]
    return Size(
        load=load,
        consumers=consumers,
        api=api,
        redis_cores=redis_cores,
        redis_primaries=ceil(max(each.share for each in shares[:2])),
        redis_bytes=redis_bytes,
        postgres_cores=postgres_cores,
        postgres_bytes_a_day=a_day,
        postgres_bytes=kept,
        connections=connections,
        limits=sorted(shares, key=lambda each: -each.share),
    )


def first_limit(load: Load) -> FirstLimit:
    """Return the limit that a growing load reaches first."""
    low, high = 0.0, 1.0
    while size(_grown(load, high)).limits[0].share <= 1:
        low, high = high, 2 * high
    while high - low > high / 1_000:
        middle = (low + high) / 2
        if size(_grown(load, middle)).limits[0].share <= 1:
            low = middle
        else:
            high = middle
    reached = size(_grown(load, high)).limits[0]
    return FirstLimit(reached.engine, reached.what, high)


def _grown(load: Load, factor: float) -> Load:
    return load._replace(
        tenants=ceil(load.tenants * factor),
        events_per_second=load.events_per_second * factor,
        viewers=ceil(load.viewers * factor),
        jobs_per_day=load.jobs_per_day * factor,
    )


def _consumers(group: str, load: Load, least: int) -> Part:
    """Return the consumers of a group; their number follows from full batches.

    A consumer waits while its servers work, so their time for an event counts as its own.
    """
    each = sum(cost(name) for name in EVENT_COSTS[group])
    processes = max(least, ceil(load.events_per_second * each / 1e6 / BUSY))
    idle = processes * cost(f"{group}_idle") + load.tenants * cost("tenant_consumer")
    return Part(processes, _projecting_cores(load, group, "") + idle / 1e6)


def _projecting_cores(load: Load, group: str, server: str) -> float:
    """Return the cores for projecting in a group, of the consumers or of a server.

    At low rates each event is a batch of its own; at high rates many share one.
    """
    rate = load.events_per_second
    batches = min(rate, BATCHES_A_SECOND * max(1.0, rate * cost(f"{group}_event") / 1e6 / BUSY))
    return (rate * cost(f"{group}_event{server}") + batches * cost(f"{group}_batch{server}")) / 1e6


def _looks(load: Load) -> float:
    """Return polls a second, or changes delivered."""
    return load.viewers / SECONDS_BETWEEN_LOOKS


def _api(load: Load, least: int) -> Part:
    cores = _looks(load) * max(cost("poll_api"), cost("delivery_api")) / 1e6
    needed = max(ceil(cores / BUSY), ceil(load.viewers / VIEWERS_A_PROCESS))
    processes = max(least, needed)
    return Part(processes, cores + processes * cost("api_idle") / 1e6)


def _redis_cores(load: Load, processes: int) -> float:
    projecting = sum(_projecting_cores(load, group, "_redis") for group in GROUPS)
    others = (
        load.events_per_second * cost("append_redis")
        + load.tenants * cost("tenant_redis")
        + _looks(load) * cost("poll_redis")
        + processes * cost("process_redis")
    )
    return projecting + others / 1e6


def _redis_bytes(load: Load) -> float:
    streams = load.events_in_streams * cost("redis_bytes_event")
    documents = load.jobs_per_day * load.ended_keep_seconds / DAY * cost("redis_bytes_job")
    return streams + documents + load.tenants * cost("redis_bytes_tenant")

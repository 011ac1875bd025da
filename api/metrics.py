"""All metrics of the API, each as a literal; `docs/metrics.md` lists them.

No label contains a tenant or an id, so that the metrics reveal nothing about anybody's jobs. Used
by the modules of `api` that count something. `api.monitoring` serves the metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import redis.asyncio
from prometheus_client import Counter, Gauge, Histogram

from api.request_histogram import RequestSeconds
from sql.sessions import Pool
from streams.async_cluster import pools_of

REQUEST_SECONDS = RequestSeconds(
    "jobtrail_http_request_seconds",
    "Seconds from a request to the end of its answer; its count is the number of requests."
    " Long polls have their own routes, which end in `?wait`.",
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30),
)
READ_BATCH = Histogram(
    "jobtrail_read_batch_jobs",
    "Jobs read by one MGET.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
)
LIVE_STREAMS = Gauge("jobtrail_live_streams", "Live streams (Server-Sent Events) that are open.")
LONG_POLLS = Gauge("jobtrail_long_polls", "Long polls that wait for a change of their job.")
LIVE_STREAM_EVENTS = Counter(
    "jobtrail_live_stream_events_total",
    "States sent to live streams, by the stream's `scope` (one `job`, or a `tenant`).",
    ["scope"],
)
SLOW_CLIENTS = Counter(
    "jobtrail_slow_clients_dropped_total",
    "Live streams closed because their client accepted no data for too long.",
)
FEED_MESSAGES = Counter(
    "jobtrail_feed_messages_total", "Messages about changes received from Redis by this process."
)
FEED_SUBSCRIPTIONS = Gauge(
    "jobtrail_feed_subscriptions", "Tenants to whose changes this process is subscribed."
)
POOL_CONNECTIONS = Gauge(
    "jobtrail_pool_connections",
    "Connections to a server (`redis`, `postgres`, `replica`), `used` or `idle`.",
    ["server", "state"],
)
POOL_WAITING = Gauge(
    "jobtrail_pool_requests_waiting",
    "Requests that wait for a connection to PostgreSQL.",
)


def watch_redis_pool(client: redis.asyncio.Redis) -> None:
    """Export the numbers of a client's connections to Redis, counted at each scrape."""

    def count(state: str) -> int:
        return sum(
            number
            for pool in pools_of(client)
            for number, labels in pool.get_connection_count()
            if labels["db.client.connection.state"] == state
        )

    for state in ("used", "idle"):
        POOL_CONNECTIONS.labels("redis", state).set_function(partial(count, state))


def watch_postgres_pools(pools: Mapping[str, tuple[Pool, Callable[[], int]]]) -> None:
    """Export the numbers of connections and of waiting requests, counted at each scrape.

    Args:
        pools: by the name of the server (`postgres`, `replica`): its pool, and a function that
            returns the number of requests that the process does not let use the pool yet. The pool
            itself counts those that wait in it for a connection.
    """

    def used(pool: Pool) -> int:
        return _count(pool, "pool_size") - _count(pool, "pool_available")

    for server, (pool, _) in pools.items():
        POOL_CONNECTIONS.labels(server, "used").set_function(partial(used, pool))
        idle = partial(_count, pool, "pool_available")
        POOL_CONNECTIONS.labels(server, "idle").set_function(idle)
    if pools:
        POOL_WAITING.set_function(
            lambda: sum(
                _count(pool, "requests_waiting") + waiting() for pool, waiting in pools.values()
            )
        )


def _count(pool: Pool, name: str) -> int:
    """Return one of the numbers that the pool has of itself; 0 if it lacks it."""
    return pool.get_stats().get(name, 0)

"""Every metric of the API, one literal each; `docs/metrics.md` lists them.

No tenant and no id is ever a label: whoever may scrape learns nothing of anybody.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import redis.asyncio
from prometheus_client import Counter, Gauge, Histogram

from api.request_histogram import RequestSeconds
from sql.sessions import Pool

REQUEST_SECONDS = RequestSeconds(
    "jobtrail_http_request_seconds",
    "Seconds from a request to the end of its answer; its count is the count of requests."
    " Long-polls have a route of their own, which ends in `?wait`.",
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30),
)
READ_BATCH = Histogram(
    "jobtrail_read_batch_jobs",
    "Jobs read by one MGET.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
)
OPEN_STREAMS = Gauge("jobtrail_open_streams", "Streams of Server-Sent Events that are open.")
WAITING = Gauge("jobtrail_waiting_requests", "Long-polls held until their job changes.")
STREAM_EVENTS = Counter(
    "jobtrail_stream_events_total", "States sent to streams (`of` a `job` or a `tenant`).", ["of"]
)
SLOW_CLIENTS = Counter(
    "jobtrail_slow_clients_dropped_total", "Streams cut off because their client took nothing."
)
FEED_MESSAGES = Counter(
    "jobtrail_feed_messages_total", "Messages of changes that Redis published to this process."
)
FEED_SUBSCRIPTIONS = Gauge(
    "jobtrail_feed_subscriptions", "Tenants whose changes this process is subscribed to."
)
POOL_CONNECTIONS = Gauge(
    "jobtrail_pool_connections",
    "Connections to a server (`redis`, `postgres`), `used` or `idle`.",
    ["server", "state"],
)
POOL_WAITING = Gauge(
    "jobtrail_pool_requests_waiting",
    "Requests that wait for a connection to PostgreSQL.",
)


def watch_redis_pool(client: redis.asyncio.Redis) -> None:
    """Show this client's connections, counted when somebody scrapes."""
    pool = client.connection_pool

    def count(state: str) -> int:
        counts = pool.get_connection_count()
        return sum(
            number for number, facts in counts if facts["db.client.connection.state"] == state
        )

    for state in ("used", "idle"):
        POOL_CONNECTIONS.labels("redis", state).set_function(partial(count, state))


def watch_postgres_pool(pool: Pool, waiting: Callable[[], int]) -> None:
    """Show this pool's connections, and how many requests wait, counted when somebody scrapes."""

    def count(name: str) -> int:
        return pool.get_stats().get(name, 0)

    def used() -> int:
        return count("pool_size") - count("pool_available")

    POOL_CONNECTIONS.labels("postgres", "used").set_function(used)
    POOL_CONNECTIONS.labels("postgres", "idle").set_function(partial(count, "pool_available"))
    POOL_WAITING.set_function(lambda: count("requests_waiting") + waiting())

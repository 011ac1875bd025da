"""Clients of Redis from a URL, and the classes of errors that they raise.

The retries of the client library are switched off: a retried XREADGROUP leaves the entries of the
first try undelivered, and a retried XADD appends twice. Callers retry where it is safe. All
processes of the service and the worker's package connect through this module. Used by `api`,
`consumers`, `ops` and `streams`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from .async_cluster import AsyncCluster
from .cluster import Cluster
from .servers.primary import ASYNCIO, BLOCKING, ROLE_SECONDS, Roles, WrongServer
from .servers.redis_url import RedisUrl, parse_redis_url
from .servers.sentinels import (
    ASYNCIO_NAMED,
    BLOCKING_NAMED,
    AsyncSentinelPool,
    AsyncService,
    NoPrimary,
    SentinelPool,
    Service,
)
from .servers.sessions import NodeConnection, TlsNodeConnection
from .servers.url_options import InvalidUrl

SOCKET_TIMEOUT = 5.0
"""Seconds that one command may take; a blocking read must block for less."""
SENTINEL_SECONDS = 1.0
"""Longest time for connecting to a Sentinel, and for its answer."""


__all__ = [
    "OUTAGES",
    "SOCKET_TIMEOUT",
    "InvalidUrl",
    "LogUnavailable",
    "NoPrimary",
    "WrongServer",
    "connect",
    "connect_async",
    "count_refused_servers",
    "is_outage",
    "is_unreachable",
    "refusal_text",
    "refuses_writes",
    "service_of",
    "uses_sentinels",
]


class LogUnavailable(Exception):
    """Redis is unavailable or refuses writes. The event may have been appended: retry with it."""


def is_unreachable(error: Exception) -> bool:
    """Return True if the server did not answer, so that no other event would be appended either.

    The argument is what an appender raised.
    """
    return isinstance(error.__cause__, redis.ConnectionError | redis.TimeoutError)


OUTAGES = (
    redis.ConnectionError,
    redis.TimeoutError,
    redis.exceptions.BusyLoadingError,
    redis.exceptions.ReadOnlyError,
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.ClusterDownError,
    redis.exceptions.TryAgainError,
    redis.exceptions.MasterDownError,
)
"""Errors of a server that is unavailable or refuses for a while; the request is not at fault."""

_REFUSALS = (
    "OOM ",
    "READONLY",
    "MISCONF",
    "LOADING",
    "MASTERDOWN",
    "NOREPLICAS",
    "CLUSTERDOWN",
    "UNBLOCKED",  # demoted while a command was blocked
)


_PIPELINE_PREFIX = re.compile(
    r"""Command \# \d+ \(.*\) of pipeline caused error: (?:\(['"])?""", re.DOTALL
)
"""The words that the client library puts before an error of a command in a pipeline."""

_REFUSED_WRITES = ("MISCONF", "NOREPLICAS")
REFUSALS = ("OOM", *_REFUSED_WRITES)
"""The codes of the errors of a server that refuses writes."""


def refusal_text(error: redis.ResponseError) -> str:
    """Return a server's own words of a refusal, which begin with its code, also in a pipeline."""
    return _PIPELINE_PREFIX.sub("", str(error), count=1)


def refuses_writes(error: BaseException) -> bool:
    """Return True if the server answers, but refuses writes, for want of memory, disk or replicas.

    A server that could not save (MISCONF) also refuses PING, and answers reads.
    """
    return isinstance(error, redis.exceptions.OutOfMemoryError) or (
        isinstance(error, redis.ResponseError) and refusal_text(error).startswith(_REFUSED_WRITES)
    )


def lacks_resources(info: Mapping[str, Any]) -> bool:
    """Return True if a server refuses writes for want of memory or of replicas.

    `info` is its answer to INFO, with the sections memory and replication.
    """
    limit = int(info.get("maxmemory", 0))
    used = int(info.get("used_memory", 0)) - int(info.get("mem_not_counted_for_evict", 0))
    full = 0 < limit < used and info.get("maxmemory_policy") == "noeviction"
    return full or info.get("min_slaves_good_slaves") == 0


def is_outage(error: BaseException) -> bool:
    """Return True for an outage, which passes, and False for an error of the request."""
    if isinstance(
        error, redis.exceptions.AuthenticationError | redis.exceptions.AuthorizationError
    ):
        return False
    return isinstance(error, OUTAGES) or (
        isinstance(error, redis.ResponseError) and refusal_text(error).startswith(_REFUSALS)
    )


def connect(
    url: str,
    *,
    timeout: float = SOCKET_TIMEOUT,
    connect_timeout: float = SOCKET_TIMEOUT,
    role_seconds: float = ROLE_SECONDS,
) -> redis.Redis:
    """Return a client for a Redis URL; nothing is sent yet.

    Timeouts are in seconds. Commands raise WrongServer while the server is not a primary; its role
    is checked again after `role_seconds`. The client of a cluster is a `Cluster`, whose commands
    must have their keys in one slot.

    Raises:
        InvalidUrl: the URL is not valid.
    """
    parsed = parse_redis_url(url)
    if parsed.nodes:
        return _cluster(parsed, timeout, connect_timeout)
    options = {**_defaults(timeout, connect_timeout, role_seconds), **parsed.options}
    pool = redis.ConnectionPool
    connection_class = BLOCKING[parsed.scheme]
    if parsed.sentinels is not None:
        pool, connection_class = SentinelPool, BLOCKING_NAMED[parsed.scheme]
        options["service"] = Service(parsed.sentinels.service, list(_sentinels(parsed)))
    retry = Retry(NoBackoff(), 0)
    return redis.Redis.from_pool(pool(connection_class=connection_class, retry=retry, **options))


def connect_async(
    url: str,
    *,
    timeout: float | None = SOCKET_TIMEOUT,
    connect_timeout: float = SOCKET_TIMEOUT,
    role_seconds: float = ROLE_SECONDS,
) -> redis.asyncio.Redis:
    """Return an asyncio client, as `connect` does; with `timeout` None commands have no limit."""
    parsed = parse_redis_url(url)
    if parsed.nodes:
        return _async_cluster(parsed, timeout, connect_timeout)
    options = {**_defaults(timeout, connect_timeout, role_seconds), **parsed.options}
    pool = redis.asyncio.ConnectionPool
    connection_class = ASYNCIO[parsed.scheme]
    if parsed.sentinels is not None:
        pool, connection_class = AsyncSentinelPool, ASYNCIO_NAMED[parsed.scheme]
        options["service"] = AsyncService(parsed.sentinels.service, list(_async_sentinels(parsed)))
    return redis.asyncio.Redis.from_pool(
        pool(connection_class=connection_class, retry=AsyncRetry(NoBackoff(), 0), **options)
    )


def _cluster(parsed: RedisUrl, timeout: float, connect_timeout: float) -> Cluster:
    options = _node_options(parsed, timeout, connect_timeout)
    kind = TlsNodeConnection if parsed.scheme == "rediss" else NodeConnection

    def make(address: tuple[str, int]) -> redis.Redis:
        retry, (host, port) = Retry(NoBackoff(), 0), address
        return redis.Redis.from_pool(
            redis.ConnectionPool(
                connection_class=kind, retry=retry, host=host, port=port, **options
            )
        )

    return Cluster(parsed.nodes, make)


def _async_cluster(parsed: RedisUrl, timeout: float | None, connect_timeout: float) -> AsyncCluster:
    options = _node_options(parsed, timeout, connect_timeout)
    kind = redis.asyncio.SSLConnection if parsed.scheme == "rediss" else redis.asyncio.Connection

    def make(address: tuple[str, int]) -> redis.asyncio.Redis:
        retry, (host, port) = AsyncRetry(NoBackoff(), 0), address
        return redis.asyncio.Redis.from_pool(
            redis.asyncio.ConnectionPool(
                connection_class=kind, retry=retry, host=host, port=port, **options
            )
        )

    return AsyncCluster(parsed.nodes, make)


def _node_options(
    parsed: RedisUrl, timeout: float | None, connect_timeout: float
) -> dict[str, Any]:
    """Return the arguments for the connections to the nodes of a cluster.

    A node that is a replica redirects every command, so that roles need no check.
    """
    options = {**_defaults(timeout, connect_timeout, 0), **parsed.options}
    del options["roles"]
    return options


def count_refused_servers(client: redis.Redis | redis.asyncio.Redis) -> int:
    """Return how often the client's connections found a server that is not a primary."""
    roles = _options_of(client).get("roles")
    return roles.refused if isinstance(roles, Roles) else 0


def uses_sentinels(client: redis.Redis | redis.asyncio.Redis) -> bool:
    """Return True if Sentinels name the client's server."""
    return "service" in _options_of(client)


def service_of(client: redis.Redis) -> Service | None:
    """Return the service whose primary the client uses, or None without Sentinels."""
    found = _options_of(client).get("service")
    return found if isinstance(found, Service) else None


def _options_of(client: redis.Redis | redis.asyncio.Redis) -> Mapping[str, Any]:
    """Return the options of a client's connections; none for the nodes of a cluster."""
    on_cluster = isinstance(client, Cluster | AsyncCluster)
    return {} if on_cluster else client.connection_pool.connection_kwargs


def _sentinels(parsed: RedisUrl) -> Iterator[redis.Redis]:
    """Yield a client for each Sentinel of a URL."""
    kind = redis.SSLConnection if parsed.scheme == "rediss" else redis.Connection
    for options in _sentinel_options(parsed):
        retry = Retry(NoBackoff(), 0)
        pool = redis.ConnectionPool(connection_class=kind, retry=retry, **options)
        yield redis.Redis.from_pool(pool)


def _async_sentinels(parsed: RedisUrl) -> Iterator[redis.asyncio.Redis]:
    """Yield an asyncio client for each Sentinel of a URL."""
    kind = redis.asyncio.SSLConnection if parsed.scheme == "rediss" else redis.asyncio.Connection
    for options in _sentinel_options(parsed):
        retry = AsyncRetry(NoBackoff(), 0)
        pool = redis.asyncio.ConnectionPool(connection_class=kind, retry=retry, **options)
        yield redis.asyncio.Redis.from_pool(pool)


def _sentinel_options(parsed: RedisUrl) -> Iterator[dict[str, Any]]:
    """Yield the arguments for the connections to each Sentinel of a URL."""
    if parsed.sentinels is None:
        return
    tls = {name: value for name, value in parsed.options.items() if name.startswith("ssl_")}
    limits = dict.fromkeys(("socket_timeout", "socket_connect_timeout"), SENTINEL_SECONDS)
    for host, port in parsed.sentinels.addresses:
        yield {"host": host, "port": port, "protocol": 2, **limits, **parsed.sentinels.login, **tls}


def _defaults(timeout: float | None, connect_timeout: float, role_seconds: float) -> dict[str, Any]:
    return {
        "protocol": 2,
        "socket_timeout": timeout,
        "socket_connect_timeout": connect_timeout,
        "health_check_interval": 0,
        # Streams whose names are not UTF-8 are read too, and their entries dead-lettered.
        "encoding_errors": "surrogateescape",
        "roles": Roles(role_seconds),
    }

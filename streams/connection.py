"""Clients of Redis from a URL, and the classes of errors that they raise.

The retries of the client library are switched off: a retried XREADGROUP leaves the entries of the
first try undelivered, and a retried XADD appends twice. Callers retry where it is safe. All
processes of the service and the worker's package connect through this module.
"""

from __future__ import annotations

from typing import Any

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from .servers.primary import ASYNCIO, BLOCKING, ROLE_SECONDS, Roles, WrongServer
from .servers.redis_url import InvalidUrl, parse_redis_url

SOCKET_TIMEOUT = 5.0
"""Seconds that one command may take; a blocking read must block for less."""


__all__ = [
    "OUTAGES",
    "SOCKET_TIMEOUT",
    "InvalidUrl",
    "LogUnavailable",
    "WrongServer",
    "connect",
    "connect_async",
    "is_outage",
    "refused_servers",
    "refuses_writes",
]


class LogUnavailable(Exception):
    """Redis is unavailable or refuses writes. The event may have been appended: retry with it."""


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


_REFUSED_WRITES = ("MISCONF", "NOREPLICAS")


def refuses_writes(error: BaseException) -> bool:
    """Return True if the server answers, but refuses writes, for want of memory, disk or replicas.

    A server that could not save (MISCONF) also refuses PING, and answers reads.
    """
    return isinstance(error, redis.exceptions.OutOfMemoryError) or (
        isinstance(error, redis.ResponseError) and str(error).startswith(_REFUSED_WRITES)
    )


def is_outage(error: BaseException) -> bool:
    """Return True for an outage, which passes, and False for an error of the request."""
    if isinstance(
        error, redis.exceptions.AuthenticationError | redis.exceptions.AuthorizationError
    ):
        return False
    return isinstance(error, OUTAGES) or (
        isinstance(error, redis.ResponseError) and str(error).startswith(_REFUSALS)
    )


def connect(
    url: str,
    *,
    timeout: float = SOCKET_TIMEOUT,
    connect_timeout: float = SOCKET_TIMEOUT,
    role_seconds: float = ROLE_SECONDS,
) -> redis.Redis:
    """Return a client for a URL with `redis://`, `rediss://` or `unix://`; nothing is sent yet.

    Timeouts are in seconds. Commands raise WrongServer while the server is not a primary; its role
    is checked again after `role_seconds`.

    Raises:
        InvalidUrl: the URL is not valid.
    """
    scheme, options = parse_redis_url(url)
    pool = redis.ConnectionPool(
        connection_class=BLOCKING[scheme],
        retry=Retry(NoBackoff(), 0),
        **{**_defaults(timeout, connect_timeout, role_seconds), **options},
    )
    return redis.Redis.from_pool(pool)


def connect_async(
    url: str,
    *,
    timeout: float | None = SOCKET_TIMEOUT,
    connect_timeout: float = SOCKET_TIMEOUT,
    role_seconds: float = ROLE_SECONDS,
) -> redis.asyncio.Redis:
    """Return an asyncio client, as `connect` does; with `timeout` None commands have no limit."""
    scheme, options = parse_redis_url(url)
    pool = redis.asyncio.ConnectionPool(
        connection_class=ASYNCIO[scheme],
        retry=AsyncRetry(NoBackoff(), 0),
        **{**_defaults(timeout, connect_timeout, role_seconds), **options},
    )
    return redis.asyncio.Redis.from_pool(pool)


def refused_servers(client: redis.Redis | redis.asyncio.Redis) -> int:
    """Return how often the client's connections found a server that is not a primary."""
    roles = client.connection_pool.connection_kwargs.get("roles")
    return roles.refused if isinstance(roles, Roles) else 0


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

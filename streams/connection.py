"""Connections to Redis from a URL.

The client library's own retries are switched off: a retried XREADGROUP strands what the first try
delivered, a retried XADD appends twice. Who may retry, does so where the consequence is known.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

SCHEMES = ("redis", "rediss", "unix")
_FORMS = "the Redis URL must be redis://HOST:PORT/DB, rediss://… or unix:///PATH, its options right"
SOCKET_TIMEOUT = 5.0
"""Seconds that one command may take. A blocking read must block for less."""


class InvalidUrl(ValueError):
    """The server's URL is not of a known form; the message never repeats its password."""


class LogUnavailable(Exception):
    """Redis is away or refuses writes. What was sent may have landed: retry with the same event."""


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
"""What the server's absence or refusal looks like: wait and try again, the data is not at fault."""

_REFUSALS = ("OOM ", "READONLY", "MISCONF", "LOADING", "MASTERDOWN", "NOREPLICAS", "CLUSTERDOWN")


def is_outage(error: BaseException) -> bool:
    """Tell an outage, which passes, from an error of the request, which does not."""
    if isinstance(
        error, redis.exceptions.AuthenticationError | redis.exceptions.AuthorizationError
    ):
        return False
    return isinstance(error, OUTAGES) or (
        isinstance(error, redis.ResponseError) and str(error).startswith(_REFUSALS)
    )


def connect(
    url: str, *, timeout: float = SOCKET_TIMEOUT, connect_timeout: float = SOCKET_TIMEOUT
) -> redis.Redis:
    """Make a client for `redis://`, `rediss://` or `unix://`; nothing is sent yet.

    Timeouts are in seconds.

    Raises:
        InvalidUrl: the URL is not of these forms.
    """
    options = _options(url, timeout, connect_timeout)
    try:
        return redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), **options)
    except ValueError:
        raise InvalidUrl(_FORMS) from None


def connect_async(
    url: str, *, timeout: float | None = SOCKET_TIMEOUT, connect_timeout: float = SOCKET_TIMEOUT
) -> redis.asyncio.Redis:
    """Make an asyncio client, as `connect` does; `timeout` None leaves limits to the caller."""
    options = _options(url, timeout, connect_timeout)
    try:
        return redis.asyncio.Redis.from_url(url, retry=AsyncRetry(NoBackoff(), 0), **options)
    except ValueError:
        raise InvalidUrl(_FORMS) from None


def _options(url: str, timeout: float | None, connect_timeout: float) -> dict[str, Any]:
    try:
        parts = urlsplit(url)
        known = parts.scheme in SCHEMES and bool(
            parts.path if parts.scheme == "unix" else parts.netloc
        )
        # They would win over ours, and replies would be other than what is read here.
        known = known and not {"protocol", "decode_responses"} & parse_qs(parts.query).keys()
        _ = parts.port
    except ValueError:
        known = False
    if not known:
        raise InvalidUrl(_FORMS)
    return {
        "protocol": 2,
        "socket_timeout": timeout,
        "socket_connect_timeout": connect_timeout,
        "health_check_interval": 0,
        # A stream that somebody named in another encoding is still read and dead-lettered.
        "encoding_errors": "surrogateescape",
    }

"""The lines to print for errors of servers, client libraries and other packages.

This module imports all of these. Used by `ops.errors`, which imports it only when an error was
raised.
"""

from __future__ import annotations

import psycopg
import redis

from api.access.listening import ListenError
from consumers.faults import is_of_key
from ops.devstack import EmbeddedError
from ops.errors import one_line
from sql.retries import TRANSIENT_ERRORS
from streams.connection import (
    InvalidUrl,
    LogUnavailable,
    WrongServer,
    refusal_text,
    refuses_writes,
)
from streams.events import InvalidEvent

_INSUFFICIENT_RESOURCES = "53"
"""The class of the server's errors for a full disk, memory or too many connections."""

_POOL_IS_FULL = "query_wait_timeout"
"""PgBouncer's message where no server connection was free in time."""

_PLAIN = (EmbeddedError, InvalidEvent, ListenError, WrongServer)


def line_for(error: BaseException) -> str | None:
    """Return the line to print for an error, or None for a defect of this program."""
    if isinstance(error, _PLAIN):
        return one_line(error)
    if isinstance(error, LogUnavailable):
        # An error without a cause is an answer of the server, so that the URL is right.
        url_may_be_wrong = error.__cause__ and not isinstance(error.__cause__, WrongServer)
        return f"{one_line(error)}{': check JOBTRAIL_REDIS_URL' if url_may_be_wrong else ''}"
    if isinstance(error, redis.RedisError | InvalidUrl):
        return _of_redis(error)
    if isinstance(error, psycopg.Error):
        return _of_postgres(error)
    return None


def _of_postgres(error: psycopg.Error) -> str:
    # The other parts of the server's message would show the statement.
    message = error.diag.message_primary or one_line(error)
    if message == _POOL_IS_FULL:
        return "PgBouncer had no free connection: raise its pool size; a command takes up to 2"
    if (error.sqlstate or "").startswith(_INSUFFICIENT_RESOURCES):
        return f"PostgreSQL refuses: {message}: it lacks space on disk, memory or connections"
    if isinstance(error, TRANSIENT_ERRORS):
        return f"other sessions were in the way ({message}): run the command again"
    return f"PostgreSQL is away or refuses: {message}: check JOBTRAIL_DATABASE_URL"


def _of_redis(error: redis.RedisError | InvalidUrl) -> str:
    if isinstance(error, InvalidUrl):
        return f"JOBTRAIL_REDIS_URL: {one_line(error)}"
    if isinstance(error, redis.ResponseError) and refusal_text(error).startswith("NOREPLICAS"):
        return "Redis refuses writes while too few of its replicas are in step (NOREPLICAS)"
    if refuses_writes(error):
        return f"Redis refuses writes: {one_line(error)}: run jobtrail doctor"
    if isinstance(error, redis.AuthenticationError | redis.exceptions.NoPermissionError):
        return f"Redis refuses us: {one_line(error)}: check the user and password in its URL"
    if is_of_key(error):
        return f"a key holds what does not belong there: {one_line(error)}: run jobtrail doctor"
    return f"Redis is away or refuses: {one_line(error)}: check JOBTRAIL_REDIS_URL"

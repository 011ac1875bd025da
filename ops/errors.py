"""What a command says when it cannot do its work: one line, no traceback."""

from __future__ import annotations

import psycopg
import redis

from api.listening import ListenError
from ops.devstack import EmbeddedError
from streams.connection import InvalidUrl, LogUnavailable
from streams.events import InvalidEvent
from streams.keys import InvalidTenant
from streams.settings import SettingsError


class CommandError(Exception):
    """The command failed; the message is one line that says what is wrong and what to do."""


_PLAIN = (
    CommandError,
    EmbeddedError,
    InvalidEvent,
    InvalidTenant,
    InvalidUrl,
    ListenError,
    LogUnavailable,
    SettingsError,
)


def line_for(error: BaseException) -> str | None:
    """Give the line that says what went wrong, or None where it is our own fault."""
    if isinstance(error, _PLAIN):
        return _one_line(error)
    if isinstance(error, redis.AuthenticationError | redis.exceptions.NoPermissionError):
        return f"Redis refuses us: {_one_line(error)}: check the user and password in its URL"
    if isinstance(error, redis.RedisError):
        return f"Redis is away or refuses: {_one_line(error)}: check JOBTRAIL_REDIS_URL"
    if isinstance(error, psycopg.Error):
        return f"PostgreSQL is away or refuses: {_one_line(error)}: check JOBTRAIL_DATABASE_URL"
    if isinstance(error, OSError):
        return _one_line(error)
    return None


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__

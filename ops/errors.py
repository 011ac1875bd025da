"""What a command says when it cannot do its work: one line, no traceback."""

from __future__ import annotations

from typing import Any

import psycopg
import redis
import typer

from api.listening import ListenError
from consumers.faults import is_of_key
from ops.devstack import EmbeddedError
from sql.sessions import PASSING
from streams.connection import InvalidUrl, LogUnavailable, WrongServer, refuses_writes
from streams.events import InvalidEvent
from streams.keys import InvalidTenant
from streams.settings import SettingsError

USAGE_STATUS = 2
"""Exit status where the words of the command were wrong."""

UsageError: type = typer.BadParameter.__mro__[1]
"""What typer raises for every wrong word of a command; it gives it no public name."""


class WrongWord(Exception):
    """A word of the command names what cannot be used; the message is one line."""


class CommandError(Exception):
    """The command failed; the message is one line that says what is wrong and what to do."""


_INSUFFICIENT_RESOURCES = "53"
"""The class of the server's errors for a full disk, memory or too many connections."""

_PLAIN = (
    CommandError,
    EmbeddedError,
    InvalidEvent,
    InvalidTenant,
    ListenError,
    OSError,
    SettingsError,
    WrongServer,
    WrongWord,
)


def line_for(error: BaseException) -> str | None:
    """Give the line that says what went wrong, or None where it is our own fault."""
    if isinstance(error, _PLAIN):
        return _one_line(error)
    if isinstance(error, LogUnavailable):
        # Without a cause it is the server's own answer, for which the URL is not to blame.
        blamed = error.__cause__ and not isinstance(error.__cause__, WrongServer)
        return f"{_one_line(error)}{': check JOBTRAIL_REDIS_URL' if blamed else ''}"
    if isinstance(error, redis.RedisError | InvalidUrl):
        return _of_redis(error)
    if isinstance(error, psycopg.Error):
        return _of_postgres(error)
    return None


def _of_postgres(error: psycopg.Error) -> str:
    # The rest of what the server says would show our statement.
    said = error.diag.message_primary or _one_line(error)
    if (error.sqlstate or "").startswith(_INSUFFICIENT_RESOURCES):
        return f"PostgreSQL refuses: {said}: it lacks space on disk, memory or connections"
    if isinstance(error, PASSING):
        return f"other sessions were in the way ({said}): run the command again"
    return f"PostgreSQL is away or refuses: {said}: check JOBTRAIL_DATABASE_URL"


def _of_redis(error: redis.RedisError | InvalidUrl) -> str:
    if isinstance(error, InvalidUrl):
        return f"JOBTRAIL_REDIS_URL: {_one_line(error)}"
    if str(error).startswith("NOREPLICAS"):
        return "Redis refuses writes while too few of its replicas are in step (NOREPLICAS)"
    if refuses_writes(error):
        return f"Redis refuses writes: {_one_line(error)}: run jobtrail doctor"
    if isinstance(error, redis.AuthenticationError | redis.exceptions.NoPermissionError):
        return f"Redis refuses us: {_one_line(error)}: check the user and password in its URL"
    if is_of_key(error):
        return f"a key holds what does not belong there: {_one_line(error)}: run jobtrail doctor"
    return f"Redis is away or refuses: {_one_line(error)}: check JOBTRAIL_REDIS_URL"


def usage_line(error: Any) -> str:
    """Give the line that says which word of the command is wrong; none where help was shown."""
    said = (
        "" if type(error).__name__ == "NoArgsIsHelpError" else _one_line_of(error.format_message())
    )
    if not said or error.ctx is None:
        return said
    return f"{said}: see {error.ctx.command_path} --help"


def _one_line(error: BaseException) -> str:
    return _one_line_of(str(error)) or type(error).__name__


def _one_line_of(text: str) -> str:
    return " ".join(text.split()).rstrip(".")

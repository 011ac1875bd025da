"""Telling an outage, which passes, from poison and from one tenant's odd keys, which do not.

An outage stops the batch: wait and apply it again; it counts against no entry. Poison is the data's
own fault: the one bad entry goes to the dead letters and the rest goes on. An odd key is the
tenant's own fault: it delays that tenant alone (`consumers.delivery.refused_tenants`).
"""

from __future__ import annotations

import psycopg
import redis

_POISON = (
    psycopg.DataError,
    psycopg.IntegrityError,
    psycopg.errors.ProgramLimitExceeded,
    redis.DataError,
)
_OF_A_KEY = ("WRONGTYPE", "NOGROUP", "UNBLOCKED")
"""Codes of errors that concern the key of the command, whatever the server's condition."""
_OF_A_STREAM = ("the stream has exhausted", "the id specified in x", "invalid stream id")
"""The same for errors that have no code of their own."""


def is_outage(error: BaseException) -> bool:
    """Whether waiting can help.

    Whatever a server says that is not about the data counts as an outage, a missing table or a
    wrong password too: an operator mends those, and no entry may be lost until then.
    """
    if isinstance(error, _POISON):
        return False
    if isinstance(error, redis.ResponseError):
        return not is_of_key(error)
    return isinstance(error, psycopg.Error | redis.RedisError | OSError)


def is_of_key(error: BaseException) -> bool:
    """Return whether the server refuses because of the value at the key of the command."""
    if not isinstance(error, redis.ResponseError):
        return False
    said = str(error)
    return said.startswith(_OF_A_KEY) or said.lower().startswith(_OF_A_STREAM)


def server_of(error: BaseException) -> str:
    """Name the server whose absence or refusal this is, for metrics."""
    if isinstance(error, redis.RedisError):
        return "redis"
    return "postgres" if isinstance(error, psycopg.Error) else "other"

"""Telling an outage, which passes, from poison, which does not.

An outage stops the batch: wait and apply it again; it counts against no entry. Poison is the data's
own fault: the one bad entry goes to the dead letters and the rest goes on.
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


def is_outage(error: BaseException) -> bool:
    """Whether waiting can help.

    Whatever a server says that is not about the data counts as an outage, a missing table or a
    wrong password too: an operator mends those, and no entry may be lost until then.
    """
    if isinstance(error, _POISON):
        return False
    if isinstance(error, redis.ResponseError):
        return not str(error).startswith("WRONGTYPE")
    return isinstance(error, psycopg.Error | redis.RedisError | OSError)


def server_of(error: BaseException) -> str:
    """Name the server whose absence or refusal this is, for metrics."""
    if isinstance(error, redis.RedisError):
        return "redis"
    return "postgres" if isinstance(error, psycopg.Error) else "other"

"""The classification of errors that a consumer meets, and their text for its log lines.

- An *outage* passes: the consumer waits and applies the batch again. It counts against no entry.
- *Poison* is bad data: the one bad entry becomes a dead letter, and the rest is applied.
- An *odd key* concerns one tenant: only that tenant is delayed
  (`consumers.delivery.refused_tenants`).

Used by modules of `consumers`, and by `ops.outside_errors`.
"""

from __future__ import annotations

import psycopg
import redis
from redis.exceptions import RedisClusterException  # the library does not derive it from RedisError

from streams.connection import refusal_text

_POISON = (
    psycopg.DataError,
    psycopg.IntegrityError,
    psycopg.errors.ProgramLimitExceeded,
    redis.DataError,
)
_OF_A_KEY = ("WRONGTYPE", "NOGROUP", "UNBLOCKED")
"""The codes of errors that concern the key of the command alone."""
_OF_A_STREAM = ("the stream has exhausted", "the id specified in x", "invalid stream id")
"""The beginnings of such errors that have no code."""


REDIS, POSTGRESQL = "redis", "postgres"
"""The names of the servers in metrics and heartbeats."""


def is_outage(error: BaseException) -> bool:
    """Return whether an error is an outage, so that the consumer waits and tries again.

    Every refusal that does not concern the data counts as an outage, including a missing table or a
    wrong password: an operator corrects it, and no entry may be lost until then.
    """
    if isinstance(error, _POISON):
        return False
    if isinstance(error, redis.ResponseError):
        return not is_of_key(error)
    return isinstance(error, psycopg.Error | redis.RedisError | RedisClusterException | OSError)


def is_of_key(error: BaseException) -> bool:
    """Return whether the server refuses because of the value at the key of the command.

    It may have been sent alone, in a pipeline or a transaction, or by a script.
    """
    if not isinstance(error, redis.ResponseError):
        return False
    text = refusal_text(error)
    return text.startswith(_OF_A_KEY) or text.lower().startswith(_OF_A_STREAM)


def server_of(error: BaseException) -> str:
    """Return the name that the metrics use for the server that raised an error."""
    if isinstance(error, redis.RedisError | RedisClusterException):
        return REDIS
    return POSTGRESQL if isinstance(error, psycopg.Error) else "other"

"""A lock on the table `jobs`, under which no other session writes rows.

Used by `ops.tasks.replay.servers`, `projections.replay.replaced_states` and
`projections.replay.reset.rows`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import psycopg

from sql import queries
from sql.retries import TRANSIENT_ERRORS

_QUERIES = queries("rebuild")
T = TypeVar("T")

LOCK_SECONDS = 2.0
"""The time limit for one try to get the lock; writers wait meanwhile, readers do not."""
LOCK_TRIES = 30


class Busy(Exception):
    """Other sessions held rows for too long: nothing was changed; try again later."""


def with_locked_rows(
    connection: psycopg.Connection,
    work: Callable[[], T],
    seconds: float,
    on_wait: Callable[[], None],
) -> T:
    """Return the result of some work in a transaction in which no other session writes rows.

    Args:
        connection: a connection; on one that is in a transaction, the lock lasts to its end.
        work: what to do; it is done again after an error that passes by itself.
        seconds: the time limit for one try to get the lock.
        on_wait: called after each try that failed.

    Raises:
        Busy: no try got the lock.
    """
    for _ in range(LOCK_TRIES):
        try:
            with connection.transaction():
                connection.execute(_QUERIES["patience"], {"milliseconds": int(seconds * 1000)})
                connection.execute(_QUERIES["lock_rows"])
                return work()
        except (psycopg.errors.LockNotAvailable, *TRANSIENT_ERRORS):
            on_wait()
    raise Busy("the table jobs was in use all the time; nothing was changed, try again later")

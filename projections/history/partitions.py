"""Creating the partitions of the history, each of one week.

An event of a day far ahead, because of a wrong clock or an entry id of the producer's choice, is
stored in the default partition. PostgreSQL attaches no partition while the default one has rows of
its week. So these rows are moved first; otherwise one such event would prevent the partition of its
week forever. Used by `projections.rows.writer`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime

import psycopg
import structlog
from psycopg import sql

from projections.history.days import WEEK, WEEKS_AHEAD, monday_of, partition_name
from sql import queries

_LOG = structlog.get_logger(__name__)
_QUERIES = queries("retention")

AHEAD, BEHIND = WEEKS_AHEAD, 5
"""Weeks from now for which partitions are created; events of others go to the default one."""
MOVE_ROWS, MOVE_BYTES = 20_000, 2**26
"""The most events of a week that are moved while writers wait, which takes about a second."""
MOVE_AGAIN_SECONDS = 3_600.0
"""The pause after a partition was not created because there are more events."""
MAKE_TRIES, MAKE_PAUSE_SECONDS = 10, 0.1
"""Tries to create a partition, and the pause after each that did not get its locks."""
MAKE_AGAIN_SECONDS = 10.0
"""The pause after all tries failed, because somebody reads the history for long."""

_KEPT = {"kept_in": "job_events_default"}
_MAKE_LATER = (
    psycopg.errors.LockNotAvailable,
    psycopg.errors.DeadlockDetected,
    # An event of the week was added to the default partition after its events were counted.
    psycopg.errors.CheckViolation,
)


class TooManyEvents(Exception):
    """The default partition holds more events of a week than can be moved while writers wait."""


def make_partition(connection: psycopg.Connection, monday: date) -> None:
    """Create the partition of a week if it does not exist, and move its events into it.

    Raises:
        TooManyEvents: the default partition holds more of them than can be moved.
        psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected: others hold the locks.
        psycopg.errors.CheckViolation: an event of the week was added to the default one meanwhile.
    """
    name = partition_name(monday)
    if _exists(connection, name):
        return
    with connection.transaction():
        connection.execute(_QUERIES["become_owner"])
        connection.execute(_QUERIES["lock_partitions"])
        if _exists(connection, name):
            return
        held = _count_of_week(connection, monday)
        create, secure, attach = partition_statements(name, monday)
        connection.execute(create)
        connection.execute(secure)
        if held:
            _move_week(connection, monday)
        connection.execute(attach)


def partition_statements(
    name: str, monday: date
) -> tuple[sql.Composed, sql.Composed, sql.Composed]:
    """Return the statements that create a week's table, secure it and attach it to its parent.

    Attaching a table locks the parent far less than creating a partition of it.
    """
    table = sql.Identifier(name)
    return (
        sql.SQL(_QUERIES["create_partition"]).format(table),
        sql.SQL(_QUERIES["secure_partition"]).format(table),
        sql.SQL(_QUERIES["attach_partition"]).format(
            table, sql.Literal(monday), sql.Literal(monday + WEEK)
        ),
    )


def _count_of_week(connection: psycopg.Connection, monday: date) -> int:
    """Return the number of events of a week in the default partition.

    Raises:
        TooManyEvents: there are more than can be moved.
    """
    week = {"first": monday, "end": monday + WEEK, "limit": MOVE_ROWS + 1}
    count, size = connection.execute(_QUERIES["week_in_default"], week).fetchone() or (0, 0)
    if count > MOVE_ROWS or size > MOVE_BYTES:
        raise TooManyEvents("job_events_default holds too many events of this week to move them")
    return int(count)


def _move_week(connection: psycopg.Connection, monday: date) -> None:
    """Move the events of a week into its table, in the transaction that attaches it."""
    name = partition_name(monday)
    connection.execute(_QUERIES["lock_default"])
    statement = sql.SQL(_QUERIES["move_week"]).format(sql.Identifier(name))
    moved = connection.execute(statement, {"first": monday, "end": monday + WEEK}).rowcount
    _LOG.info("history_rows_moved", partition=name, count=moved)


def _exists(connection: psycopg.Connection, name: str) -> bool:
    found = connection.execute(_QUERIES["partition_exists"], (name,)).fetchone()
    return bool(found and found[0])


class Partitions:
    """The partitions that a writer needs, created before they are needed."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._made: set[date] = set()
        self._not_movable: dict[date, float] = {}
        self._clock = clock
        self._sleep = sleep
        self._next = float("-inf")

    def ensure(self, connection: psycopg.Connection, days: Iterable[date]) -> None:
        """Create the partitions of these days and of the next week, outside any transaction.

        One that cannot be created now is created by a later call. Until then its events go to the
        default partition, from which they are moved later.
        """
        now = self._clock()
        if now < self._next:
            return
        today = datetime.now(UTC).date()
        first, last = monday_of(today - BEHIND * WEEK), monday_of(today + AHEAD * WEEK)
        wanted = {monday_of(day) for day in (*days, today, today + WEEK)} - self._made
        for monday in sorted(wanted):
            if not first <= monday <= last or now < self._not_movable.get(monday, now):
                continue
            try:
                made = self._made_in_time(connection, monday)
            except TooManyEvents as error:
                self._not_movable[monday] = now + MOVE_AGAIN_SECONDS
                _LOG.warning("partition_not_made", week=str(monday), reason=str(error), **_KEPT)
                continue
            if not made:
                _LOG.warning("partition_not_made_yet", week=str(monday), **_KEPT)
                self._next = self._clock() + MAKE_AGAIN_SECONDS
                return
            self._made.add(monday)

    def _made_in_time(self, connection: psycopg.Connection, monday: date) -> bool:
        """Create a partition unless another writer does; return True if it exists.

        Attaching waits for all readers, and writers wait behind it. So each try is short, and
        writers go on in the pauses, which are long enough for another writer that creates it.
        """
        for _ in range(MAKE_TRIES):
            try:
                make_partition(connection, monday)
            except _MAKE_LATER:
                self._sleep(MAKE_PAUSE_SECONDS)
            else:
                return True
        return False

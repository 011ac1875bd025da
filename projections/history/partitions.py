"""Partitions of the history: a week's is made, and its events leave the default partition for it.

An event of a day far ahead (a server's clock was wrong, a producer chose the entry id) is kept in
the default partition. PostgreSQL attaches no partition while the default one holds rows of it:
without this, one such event would keep everybody's week from ever having a partition.
"""

from __future__ import annotations

from datetime import date

import psycopg
import structlog
from psycopg import sql

from projections.history.days import WEEK, partition_name
from sql import queries

_LOG = structlog.get_logger(__name__)
_QUERIES = queries("retention")

MOVE_ROWS, MOVE_BYTES = 20_000, 2**26
"""Events of a week that are moved while writers wait, which takes about a second."""
MOVE_AGAIN_SECONDS = 3_600.0
"""Pause after a partition could not be made because there are more events."""


class TooManyEvents(Exception):
    """The default partition holds more events of a week than can be moved while writers wait."""


def make_partition(connection: psycopg.Connection, monday: date) -> None:
    """Make the partition of a week unless it is there, and move its events into it.

    Raises:
        TooManyEvents: the default partition holds more of them than can be moved.
        psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected: others are in the way.
        psycopg.errors.CheckViolation: an event of the week came into the default one meanwhile.
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
    """Return how many events of a week the default partition holds.

    Raises:
        TooManyEvents: more than can be moved.
    """
    week = {"first": monday, "end": monday + WEEK, "limit": MOVE_ROWS + 1}
    count, size = connection.execute(_QUERIES["week_in_default"], week).fetchone() or (0, 0)
    if count > MOVE_ROWS or size > MOVE_BYTES:
        raise TooManyEvents("job_events_default holds too many events of this week to move them")
    return int(count)


def _move_week(connection: psycopg.Connection, monday: date) -> None:
    """Move a week's events into its table, in the transaction that makes it a partition."""
    name = partition_name(monday)
    connection.execute(_QUERIES["lock_default"])
    statement = sql.SQL(_QUERIES["move_week"]).format(sql.Identifier(name))
    moved = connection.execute(statement, {"first": monday, "end": monday + WEEK}).rowcount
    _LOG.info("history_rows_moved", partition=name, count=moved)


def _exists(connection: psycopg.Connection, name: str) -> bool:
    found = connection.execute(_QUERIES["partition_exists"], (name,)).fetchone()
    return bool(found and found[0])

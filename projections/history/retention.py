"""Dropping old history: partitions of weeks, and old rows of the default partition.

Used by `consumers.composition`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import psycopg
import structlog
from psycopg import sql

from sql import queries

_LOG = structlog.get_logger(__name__)
_RETENTION = queries("retention")

DROP_TRIES = 5
"""Tries to drop a partition, each of which waits for its locks only briefly."""
DELETE_BATCH, DELETE_BATCHES = 5_000, 20
"""Rows of the default partition in one DELETE, and DELETE statements in one run."""


def drop_old(connect: Callable[[], psycopg.Connection], keep_days: int) -> list[str]:
    """Drop the history that is older than some days, over a new connection in autocommit mode."""
    with connect() as connection:
        return drop_before(connection, datetime.now(UTC).date() - timedelta(days=keep_days))


def drop_before(connection: psycopg.Connection, day: date) -> list[str]:
    """Drop the partitions that end before a day, and return their names.

    A partition in use is left for another run, so that writers never wait for long. Of the default
    partition a limited number of rows is deleted. Must not be called in a transaction.
    """
    with connection.transaction():
        connection.execute(_RETENTION["read_bounds_as_iso"])
        old = connection.execute(_RETENTION["partitions_before"], (day,)).fetchall()
    dropped = [name for schema, name in old if _drop(connection, schema, name)]
    for _ in range(DELETE_BATCHES):
        deleted = connection.execute(_RETENTION["delete_default"], (day, DELETE_BATCH)).rowcount
        if deleted:
            _LOG.info("history_rows_deleted", before=str(day), count=deleted)
        if deleted < DELETE_BATCH:
            break
    return dropped


def _drop(connection: psycopg.Connection, schema: str, name: str) -> bool:
    statement = sql.SQL(_RETENTION["drop_partition"]).format(sql.Identifier(schema, name))
    for _ in range(DROP_TRIES):
        try:
            with connection.transaction():
                connection.execute(_RETENTION["become_owner"])
                # Users of the history wait behind this lock.
                connection.execute(_RETENTION["lock_partitions"])
                connection.execute(statement)
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            continue
        _LOG.info("partition_dropped", partition=name)
        return True
    _LOG.warning("partition_in_use", partition=name)
    return False

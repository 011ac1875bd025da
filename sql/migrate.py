"""Applying migrations: each file once, in order, one process at a time.

A migration is one transaction. It is run again until it gets its locks; meanwhile the sessions that
block it are logged (`sql/waits.py`), and writers go on. A file whose first line is `-- no
transaction` has statements that cannot run in a transaction, such as CREATE INDEX CONCURRENTLY,
separated by lines `-- next`. They must be safe to repeat. An invalid index that a crash left is
dropped before it is created again.

`jobtrail migrate` and `jobtrail up` apply migrations; the doctor lists missing ones.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from typing import Any, LiteralString, NamedTuple, cast

import psycopg
import structlog
from psycopg.sql import SQL

from sql.indexes import drop_invalid
from sql.sessions import Session, connect
from sql.waits import reported_waits

_LOG = structlog.get_logger(__name__)

TURN_SECONDS = 0.05
"""The pause between two tries to take the lock of migrations."""
LOCK_SECONDS = 0.5
"""The longest wait of a migration for a lock; users of the same table wait behind it."""
PAUSE_SECONDS = 1.0
"""The pause between two tries of a migration that did not get its locks; writers go on."""

_HELD = (
    psycopg.errors.LockNotAvailable,
    # Two processes created the table at the same time: the slower one tries again.
    psycopg.errors.UniqueViolation,
    psycopg.errors.DuplicateTable,
    psycopg.errors.DuplicateObject,
)
_NO_TRANSACTION = "-- no transaction"
_NEXT = "\n-- next\n"
_SET_LOCK_TIMEOUT = "SELECT set_config('lock_timeout', %s, true)"
_BOOKKEEPING: LiteralString = """
CREATE TABLE IF NOT EXISTS jobtrail_migrations (
    name text PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


class Migration(NamedTuple):
    """One file of `migrations/`."""

    name: str
    text: LiteralString

    @property
    def in_transaction(self) -> bool:
        """True if all its statements are one transaction."""
        return not self.text.startswith(_NO_TRANSACTION)


def migrations() -> list[Migration]:
    """Return all migrations in the order of their numbers."""
    found = [path for path in files("sql").joinpath("migrations").iterdir() if ".sql" in path.name]
    return [
        Migration(
            path.name.removesuffix(".sql"),
            # It comes from our own package, which LiteralString states.
            cast("Any", path.read_text(encoding="utf-8")),
        )
        for path in sorted(found, key=lambda path: path.name)
    ]


def apply(database_url: str) -> list[str]:
    """Apply the missing migrations, and return their names.

    Any number of processes may call it at the same time.

    Raises:
        psycopg.Error: the database is away, refuses or is unfit; migrations that were applied
            before remain applied.
    """
    with connect(database_url, "jobtrail-migrate", connect_seconds=10) as connection:
        connection.add_notice_handler(_log_warning)
        with turn(connection):
            waiting = _missing(connection)
            for migration in waiting:
                _apply(connection, migration)
        return [migration.name for migration in waiting]


def _log_warning(notice: psycopg.errors.Diagnostic) -> None:
    """Log a warning of a migration: something that an administrator has to do."""
    if notice.severity_nonlocalized == "WARNING":
        _LOG.warning("migration_warning", message=notice.message_primary)


@contextmanager
def turn(connection: Session) -> Iterator[None]:
    """Hold the lock of migrations, so that no other process migrates at the same time.

    It is a lock on our own table: a login that may only read cannot take it. A transaction of a
    second connection holds it, which a pooler of transactions keeps together, too. The lock is
    tried repeatedly, because a waiting LOCK would have a snapshot: CREATE INDEX CONCURRENTLY waits
    for the end of snapshots, which would be a deadlock.
    """
    with connect(connection.url, "jobtrail-migrate", connect_seconds=10) as holder:
        while not _lock(holder):
            time.sleep(TURN_SECONDS)
        with reported_waits(connection, PAUSE_SECONDS):
            yield


def _lock(holder: Session) -> bool:
    """Begin a transaction that holds the lock; return False if another process holds it."""
    try:
        holder.execute(_BOOKKEEPING)
        holder.begin()
        holder.execute("LOCK TABLE jobtrail_migrations IN SHARE UPDATE EXCLUSIVE MODE NOWAIT")
    except _HELD:
        holder.rollback()
        return False
    return True


def missing(database_url: str) -> list[str]:
    """Return the names of the migrations that the database lacks."""
    with connect(
        database_url, "jobtrail-migrate", connect_seconds=10, read_only=True
    ) as connection:
        known = connection.execute("SELECT to_regclass('jobtrail_migrations')").fetchone()
        if known is None or known[0] is None:
            return [migration.name for migration in migrations()]
        return [migration.name for migration in _missing(connection)]


def _missing(connection: psycopg.Connection) -> list[Migration]:
    applied = {name for (name,) in connection.execute("SELECT name FROM jobtrail_migrations")}
    return [migration for migration in migrations() if migration.name not in applied]


def _apply(connection: Session, migration: Migration) -> None:
    if migration.in_transaction:
        while not _applied_together(connection, migration):
            time.sleep(PAUSE_SECONDS)
        return
    for statement in migration.text.split(_NEXT):
        drop_invalid(connection, statement)
        connection.outside(SQL(statement))
    _record(connection, migration)


def _applied_together(connection: Session, migration: Migration) -> bool:
    """Apply a migration in one transaction; return False if it did not get a lock.

    A reader may hold a table for any time. If the migration waited without a limit, all writers
    would wait behind it.
    """
    try:
        with connection.transaction():
            connection.execute(_SET_LOCK_TIMEOUT, (f"{LOCK_SECONDS}s",))
            connection.execute(migration.text)
            _record(connection, migration)
    except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
        return False
    return True


def _record(connection: psycopg.Connection, migration: Migration) -> None:
    connection.execute("INSERT INTO jobtrail_migrations (name) VALUES (%s)", (migration.name,))

"""Applying migrations: each file once, in order, one process at a time.

A migration is one transaction. If it does not get its locks within `LOCK_SECONDS`, it is rolled
back and run again after `PAUSE_SECONDS`, in which writers go on. The sessions that block it are
logged (`sql/waits.py`).

A file whose first line is `-- no transaction` has statements that cannot run in a transaction, such
as CREATE INDEX CONCURRENTLY, separated by lines `-- next`. They must be safe to repeat: a crash may
come between them. If it left an invalid index, that is dropped before it is created again.

`jobtrail migrate` and `jobtrail up` apply migrations; the doctor lists missing ones.
`sql/old_indexes.py` uses the lock of migrations, too. Used by `ops.commands.migrate`,
`ops.doctor.deployment`, `ops.doctor.postgres_checks`, `ops.tasks.up` and `sql.old_indexes`.
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

from sql import queries
from sql.indexes import drop_invalid
from sql.sessions import Session, connect
from sql.waits import named_sessions, reported_waits

_LOG = structlog.get_logger(__name__)
_QUERIES = queries("waits")

LOCK_POLL_SECONDS = 0.05
"""The pause between two tries to take the lock of migrations."""
LOCK_SECONDS = 0.5
"""The longest wait of a migration for a lock; users of the same table wait behind it."""
PAUSE_SECONDS = 1.0
"""The pause between two tries of a migration that did not get its locks; writers go on."""
WAIT_REPORT_SECONDS = 2.0
"""The wait for another process's migrations after which it is logged."""

_CREATED_BY_OTHERS = (
    psycopg.errors.UniqueViolation,
    psycopg.errors.DuplicateTable,
    psycopg.errors.DuplicateObject,
)
"""Errors of CREATE TABLE IF NOT EXISTS while another process creates the same table."""
_CREATION_TRIES = 20
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
    folder = files("sql").joinpath("migrations")
    found = [path for path in folder.iterdir() if path.name.endswith(".sql")]
    return [
        Migration(
            path.name.removesuffix(".sql"),
            # LiteralString says that nobody outside can have chosen the text: it is in our package.
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
        with migrations_locked(connection):
            lacking = _missing(connection)
            for migration in lacking:
                _apply(connection, migration)
        return [migration.name for migration in lacking]


def _log_warning(notice: psycopg.errors.Diagnostic) -> None:
    """Log a warning of a migration: something that an administrator has to do."""
    if notice.severity_nonlocalized == "WARNING":
        _LOG.warning("migration_warning", message=notice.message_primary)


@contextmanager
def migrations_locked(connection: Session) -> Iterator[None]:
    """Hold the lock of migrations, so that no other process migrates at the same time.

    Another process is waited for without limit, and a long wait is logged. While the lock is held,
    the sessions that block `connection` are logged.

    It is a lock on the table of applied migrations: a login that may only read cannot take it. The
    open transaction of a second connection holds it, which works behind a pooler of transactions,
    too. LOCK does not wait (NOWAIT) but is tried repeatedly: a LOCK that waits has a snapshot, and
    CREATE INDEX CONCURRENTLY of the process that holds the lock waits for the end of all snapshots.

    Raises:
        psycopg.Error: the database is away or refuses, or another object has the table's name.
    """
    with connect(connection.url, "jobtrail-migrate", connect_seconds=10) as holder:
        _create_bookkeeping(holder)
        report_at = time.monotonic() + WAIT_REPORT_SECONDS
        while not _lock(holder):
            if time.monotonic() >= report_at:
                report_at = float("inf")
                _LOG.warning("waiting_for_other_migrations", held_by=_lock_holders(holder))
            time.sleep(LOCK_POLL_SECONDS)
        with reported_waits(connection, PAUSE_SECONDS):
            yield


def _create_bookkeeping(holder: Session) -> None:
    """Create the table of applied migrations, unless it exists."""
    for tries_left in reversed(range(_CREATION_TRIES)):
        try:
            holder.execute(_BOOKKEEPING)
        except _CREATED_BY_OTHERS:
            # If this is not a race, the name is taken, for example by a type.
            if not tries_left:
                raise
            time.sleep(LOCK_POLL_SECONDS)
        else:
            return


def _lock(holder: Session) -> bool:
    """Begin a transaction that holds the lock; return False if another process holds it."""
    try:
        holder.begin()
        holder.execute("LOCK TABLE jobtrail_migrations IN SHARE UPDATE EXCLUSIVE MODE NOWAIT")
    except psycopg.errors.LockNotAvailable:
        holder.rollback()
        return False
    return True


def _lock_holders(holder: Session) -> str:
    """Return the sessions that hold the lock, for a log line; none if it was released just now."""
    return named_sessions(holder.execute(_QUERIES["migration_lock_holders"]).fetchall())


def missing(database_url: str) -> list[str]:
    """Return the names of the migrations that the database lacks; nothing is written.

    Raises:
        psycopg.Error: the database is away or refuses.
    """
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

    A reader may hold a lock of a table for any time. If the migration waited for it without a
    limit, all writers of the table would wait behind the migration.
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

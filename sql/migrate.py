"""Applying migrations: each file once, in order, one process at a time.

A migration is one transaction, run again until it gets its locks; the sessions in its way are
logged (`sql/waits.py`), and writers go on in between. A file whose first line is `-- no
transaction` runs its statements (separated by a line `-- next`) one by one outside of one, for what
cannot run inside, such as CREATE INDEX CONCURRENTLY; such statements must be safe to repeat. An
invalid index that a crash left is dropped before it is created again.
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

from sql.indexes import clear_way
from sql.sessions import Session, connect
from sql.waits import reported_waits

_LOG = structlog.get_logger(__name__)

TURN_SECONDS = 0.05
"""Between two tries to take it."""
LOCK_SECONDS = 0.5
"""The longest wait of a migration for a lock: whoever wants the same table waits behind it."""
PAUSE_SECONDS = 1.0
"""Between two tries of a migration that could not have its locks; meanwhile others go on."""

_HELD = (
    psycopg.errors.LockNotAvailable,
    # Two that create the table at once: the slower one looks again.
    psycopg.errors.UniqueViolation,
    psycopg.errors.DuplicateTable,
    psycopg.errors.DuplicateObject,
)
_NO_TRANSACTION = "-- no transaction"
_NEXT = "\n-- next\n"
_PATIENCE = "SELECT set_config('lock_timeout', %s, true)"
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
        """Whether its statements stand or fall together."""
        return not self.text.startswith(_NO_TRANSACTION)


def migrations() -> list[Migration]:
    """Give all migrations in the order of their numbers."""
    found = [path for path in files("sql").joinpath("migrations").iterdir() if ".sql" in path.name]
    return [
        Migration(
            path.name.removesuffix(".sql"),
            # It comes from our own package, which is what LiteralString promises.
            cast("Any", path.read_text(encoding="utf-8")),
        )
        for path in sorted(found, key=lambda path: path.name)
    ]


def apply(database_url: str) -> list[str]:
    """Apply what is missing and give the names of what was applied; repeating is harmless.

    Ten processes that start together take turns.

    Raises:
        psycopg.Error: the database is away, refuses or is unfit; what was applied before stays
            applied.
    """
    with connect(database_url, "jobtrail-migrate", connect_seconds=10) as connection:
        connection.add_notice_handler(_pass_on)
        with turn(connection):
            waiting = _missing(connection)
            for migration in waiting:
                _apply(connection, migration)
        return [migration.name for migration in waiting]


def _pass_on(notice: psycopg.errors.Diagnostic) -> None:
    """Say what a migration warns of: something that an administrator has to do."""
    if notice.severity_nonlocalized == "WARNING":
        _LOG.warning("migration_warning", message=notice.message_primary)


@contextmanager
def turn(connection: Session) -> Iterator[None]:
    """Let no other process migrate meanwhile; waits for the lock by asking again and again.

    A lock on our own table, so that a login that may only read cannot hold migrations up; held in a
    transaction of a second connection, which also a pooler of transactions keeps together. Waiting
    inside LOCK would hold a snapshot, for whose end CREATE INDEX CONCURRENTLY waits in turn: a
    deadlock.
    """
    with connect(connection.url, "jobtrail-migrate", connect_seconds=10) as holder:
        while not _lock(holder):
            time.sleep(TURN_SECONDS)
        with reported_waits(connection, PAUSE_SECONDS):
            yield


def _lock(holder: Session) -> bool:
    """Begin a transaction that holds the lock, or return False where another one holds it."""
    try:
        holder.execute(_BOOKKEEPING)
        holder.begin()
        holder.execute("LOCK TABLE jobtrail_migrations IN SHARE UPDATE EXCLUSIVE MODE NOWAIT")
    except _HELD:
        holder.rollback()
        return False
    return True


def missing(database_url: str) -> list[str]:
    """Give the names of migrations that the database lacks."""
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
        while not _apply_whole(connection, migration):
            time.sleep(PAUSE_SECONDS)
        return
    for statement in migration.text.split(_NEXT):
        clear_way(connection, statement)
        connection.outside(SQL(statement))
    _record(connection, migration)


def _apply_whole(connection: Session, migration: Migration) -> bool:
    """Apply a migration in one transaction, or return False where a lock was not to be had.

    A reader may hold a table for as long as it likes. An unlimited wait for it would stop every
    writer, as these queue behind the migration.
    """
    try:
        with connection.transaction():
            connection.execute(_PATIENCE, (f"{LOCK_SECONDS}s",))
            connection.execute(migration.text)
            _record(connection, migration)
    except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
        return False
    return True


def _record(connection: psycopg.Connection, migration: Migration) -> None:
    connection.execute("INSERT INTO jobtrail_migrations (name) VALUES (%s)", (migration.name,))

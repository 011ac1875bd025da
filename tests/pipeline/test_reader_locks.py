"""A login that may only read holds every lock it can get: writers and upkeep go on beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.sql import SQL, Identifier
from structlog.testing import capture_logs

from ops.devstack import EmbeddedPostgres
from projections.decoding import decode
from projections.history.partitions import partition_statements
from projections.history.retention import drop_before
from projections.replay.row_lock import with_locked_rows
from projections.rows.writer import JobRows
from sql import migrate, sessions
from sql.migrate import Migration
from streams.entry_ids import EntryId
from streams.events import dump_json
from tests.support.logins import new_login
from tests.support.waiting import ENDING, eventually

TABLES = ("jobs", "job_events", "job_facets")
STRONGER = (
    "ROW SHARE",
    "ROW EXCLUSIVE",
    "SHARE UPDATE EXCLUSIVE",
    "SHARE",
    "SHARE ROW EXCLUSIVE",
    "EXCLUSIVE",
    "ACCESS EXCLUSIVE",
)
OLD = date(2026, 3, 2)
"""The Monday of a partition whose time has come."""

Attack = Callable[[psycopg.Connection], None]


def lock_tables(connection: psycopg.Connection) -> None:
    for table in TABLES:
        connection.execute(SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(Identifier(table)))


def lock_catalog(connection: psycopg.Connection) -> None:
    for table in ("pg_class", "pg_inherits", "pg_attribute", "pg_index", "pg_constraint"):
        statement = SQL("LOCK TABLE pg_catalog.{} IN ACCESS SHARE MODE")
        connection.execute(statement.format(Identifier(table)))


def keep_a_snapshot(connection: psycopg.Connection) -> None:
    connection.execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
    connection.execute("SELECT count(*) FROM job_events")
    connection.execute("SELECT count(*) FROM jobs")


def leave_a_cursor_open(connection: psycopg.Connection) -> None:
    connection.execute("SELECT set_config('app.tenant_id', 't', false)")
    connection.execute("DECLARE c CURSOR FOR SELECT * FROM job_events ORDER BY at, id")
    connection.execute("FETCH 1 FROM c")


def take_advisory_locks(connection: psycopg.Connection) -> None:
    connection.execute("SELECT pg_advisory_lock(oid::bigint) FROM pg_class")
    connection.execute("SELECT pg_advisory_lock(n) FROM generate_series(-1000, 1000) AS n")
    connection.execute("SELECT pg_advisory_lock(hashtext(relname)) FROM pg_class")
    connection.execute(
        "SELECT pg_advisory_lock(hashtext(word)) FROM unnest(ARRAY['jobtrail', 'partitions',"
        " 'migrate', 'jobs', 'job_events', 'jobtrail_migrations', 'reaper', 'retention']) AS word"
    )


ATTACKS: tuple[Attack, ...] = (
    lock_tables,
    lock_catalog,
    keep_a_snapshot,
    leave_a_cursor_open,
    take_advisory_locks,
)


@pytest.fixture
def db(database_url: str) -> Iterator[psycopg.Connection]:
    """The owner's connection; the history has a partition whose time has come."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        for statement in partition_statements(f"job_events_{OLD:%Y%m%d}", OLD):
            connection.execute(statement)
        yield connection


@pytest.fixture
def reader_url(
    migrated_server: EmbeddedPostgres, db: psycopg.Connection, database_url: str
) -> Iterator[str]:
    """The URL by which a login connects that may read and nothing else."""
    with new_login(migrated_server, database_url, "reader", "IN ROLE jobtrail_api") as url:
        yield url


@pytest.fixture
def held(reader_url: str) -> Iterator[ExitStack]:
    """Sessions of the reader, one an attack, each with its transaction open."""
    with ExitStack() as stack:
        for attack in ATTACKS:
            connection = stack.enter_context(psycopg.connect(reader_url))
            attack(connection)
        yield stack


@pytest.fixture
def rows(database_url: str) -> Iterator[JobRows]:
    writer = JobRows(lambda: sessions.connect(database_url, "test", settings=QUICK))
    yield writer
    writer.close()


QUICK = {"lock_timeout": "2s"}
"""A writer that waits longer than this for a lock fails, and the test with it."""


def write(rows: JobRows, name: str, ms: int | None = None) -> None:
    entry_id = EntryId(ms or time.time_ns() // 1_000_000, 0)
    rows.apply([decode("t", entry_id, [b"event", dump_json({"type": "done", "id": name})])])


def count(connection: psycopg.Connection, statement: str) -> Any:
    row = connection.execute(statement).fetchone()
    assert row is not None
    return row[0]


@pytest.mark.parametrize("mode", STRONGER)
def test_reader__may_take_no_lock_that_stops_a_writer(reader_url: str, mode: str) -> None:
    with psycopg.connect(reader_url, autocommit=True) as connection:
        for table in (*TABLES, "job_events_default", "jobtrail_migrations", "replaced_states"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
                connection.execute(SQL(f"LOCK TABLE {table} IN {mode} MODE"))
        for strength in ("KEY SHARE", "SHARE", "NO KEY UPDATE", "UPDATE"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(SQL(f"SELECT id FROM jobs FOR {strength}"))


def test_new_week_while_a_reader_holds_all_it_can__writers_go_on_and_it_is_made_later(
    db: psycopg.Connection, rows: JobRows, held: ExitStack
) -> None:
    with capture_logs() as logs:
        for number in range(20):
            write(rows, f"j{number}")
    assert count(db, "SELECT count(*) FROM jobs") == 20
    assert count(db, "SELECT count(*) FROM job_events_default") == 20
    warned = [each for each in logs if each["event"] == "partition_not_made_yet"]
    assert [each["log_level"] for each in warned] == ["warning"]
    assert warned[0]["kept_in"] == "job_events_default"
    held.close()
    rows._partitions._next = float("-inf")
    write(rows, "later")
    coming = datetime.now(UTC).date() + timedelta(weeks=1)
    monday = coming - timedelta(days=coming.weekday())
    assert count(db, f"SELECT to_regclass('job_events_{monday:%Y%m%d}') IS NOT NULL")
    assert count(db, "SELECT count(*) FROM job_events_default") == 0
    assert count(db, "SELECT count(*) FROM job_events") == 21


def test_old_week_while_a_reader_holds_all_it_can__stays_with_one_line_and_writers_go_on(
    db: psycopg.Connection, rows: JobRows, held: ExitStack
) -> None:
    with ThreadPoolExecutor(1) as pool, capture_logs() as logs:
        dropping = pool.submit(drop_before, db, OLD + timedelta(weeks=2))
        written = until(dropping.done, rows)
        assert dropping.result(ENDING) == []
    assert count(db, "SELECT count(*) FROM jobs") == written > 0
    in_use = [each for each in logs if each["event"] == "partition_in_use"]
    assert [each["partition"] for each in in_use] == [f"job_events_{OLD:%Y%m%d}"]
    held.close()
    assert drop_before(db, OLD + timedelta(weeks=2)) == [f"job_events_{OLD:%Y%m%d}"]


@pytest.mark.parametrize(
    "text",
    [
        "ALTER TABLE jobs ADD COLUMN more int; ALTER TABLE job_events ADD COLUMN more int",
        "CREATE INDEX jobs_by_code ON jobs (code)",
        "-- no transaction\nCREATE INDEX CONCURRENTLY IF NOT EXISTS by_worker ON jobs (worker)",
    ],
)
def test_migration_while_a_reader_holds_all_it_can__names_it_and_writers_go_on(
    database_url: str, rows: JobRows, held: ExitStack, monkeypatch: pytest.MonkeyPatch, text: Any
) -> None:
    waiting, ours = "CREATE INDEX jobs" not in text, migrate.migrations()
    monkeypatch.setattr(migrate, "PAUSE_SECONDS", 0.1)
    monkeypatch.setattr("sql.waits.REPORT_AFTER_SECONDS", 1.0)
    monkeypatch.setattr(migrate, "migrations", lambda: [*ours, Migration("9000", text)])
    with ThreadPoolExecutor(1) as pool, capture_logs() as logs:
        migrating = pool.submit(migrate.apply, database_url)

        def reported() -> bool:
            return any(each["event"] == "waiting_for_locks" for each in logs)

        written = until(lambda: reported() if waiting else migrating.done(), rows)
        assert migrating.done() is not waiting
        held.close()
        assert migrating.result(ENDING) == ["9000"]
    with psycopg.connect(database_url) as db:
        assert count(db, "SELECT count(*) FROM jobs") == written > 0
    lines = [each for each in logs if each["event"] == "waiting_for_locks"]
    assert len(lines) == waiting
    assert all("reader_" in each["held_by"] for each in lines)


def test_reset_while_a_reader_holds_all_it_can__gets_its_lock(
    database_url: str, rows: JobRows, held: ExitStack
) -> None:
    write(rows, "j1")
    with sessions.connect(database_url, "test", settings=QUICK) as connection:
        assert with_locked_rows(connection, lambda: "free", 1.0, pytest.fail)


def until(done: Callable[[], bool], rows: JobRows) -> int:
    """Write job after job until something is done, at least 5; return how many were written."""
    rows._partitions._next = float("inf")
    written = 0

    def enough() -> bool:
        nonlocal written
        write(rows, f"w{written}")
        written += 1
        return written >= 5 and done()

    eventually(enough, 60, "the end")
    return written


def test_the_attack_still_blocks_what_it_can(db: psycopg.Connection, held: ExitStack) -> None:
    """The locks that the other tests hold are real: without a limit, both would wait for ever."""
    db.execute("SET lock_timeout = '50ms'")
    with pytest.raises(psycopg.errors.LockNotAvailable):
        db.execute("DROP TABLE job_events_20260302")
    with pytest.raises(psycopg.errors.LockNotAvailable):
        db.execute("ALTER TABLE jobs ADD COLUMN more int")

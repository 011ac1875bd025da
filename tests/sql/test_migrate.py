from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.sql import SQL, Identifier
from structlog.testing import capture_logs

from ops.devstack import EmbeddedPostgres
from sql import migrate, queries
from sql.migrate import Migration
from streams.kinds import State
from tests.support.servers import database_url as url_of
from tests.support.servers import drop_database
from tests.support.waiting import ENDING, eventually

ROOT = Path(__file__).parents[2]
ALL = [migration.name for migration in migrate.migrations()]


@pytest.fixture
def empty_url(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """The URL of a database to which nothing was applied."""
    name = f"empty_{uuid4().hex}"
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
        yield url_of(postgres_server, name)
    drop_database(postgres_server, name)


def use(monkeypatch: pytest.MonkeyPatch, **texts: Any) -> None:
    """Let these be the migrations that follow our own."""
    ours = migrate.migrations()
    ours += [Migration(name, text) for name, text in texts.items()]
    monkeypatch.setattr(migrate, "migrations", lambda: ours)


def one(url: str, statement: Any) -> Any:
    with psycopg.connect(url) as connection:
        row = connection.execute(statement).fetchone()
    assert row is not None
    return row[0]


def applied(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        names = connection.execute("SELECT name FROM jobtrail_migrations ORDER BY applied_at, name")
        return [name for (name,) in names]


def test_migrations__names__are_numbered_without_gap_or_twin() -> None:
    assert [int(name[:4]) for name in ALL] == list(range(1, len(ALL) + 1))
    assert all(re.fullmatch(r"\d{4}_[a-z_0-9]+", name) for name in ALL)


def test_apply__empty_database__applies_all_and_says_so(empty_url: str) -> None:
    assert migrate.missing(empty_url) == ALL
    assert migrate.apply(empty_url) == ALL
    assert migrate.missing(empty_url) == []
    assert applied(empty_url) == ALL


def test_apply__again__changes_nothing(empty_url: str) -> None:
    migrate.apply(empty_url)
    with psycopg.connect(empty_url) as connection:
        connection.execute(
            "INSERT INTO job_events SELECT '42', 'job', 'a', 'e', now(), 1, 1, 'done', 1, now(), ''"
        )
    assert [migrate.apply(empty_url) for _ in range(2)] == [[], []]
    assert one(empty_url, "SELECT count(*) FROM job_events") == 1
    assert applied(empty_url) == ALL


def test_missing__looking__makes_nothing(empty_url: str) -> None:
    migrate.missing(empty_url)
    assert (
        one(empty_url, "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace")
        == 0
    )


def test_apply__ten_threads_at_once__each_migration_once(empty_url: str) -> None:
    with ThreadPoolExecutor(10) as pool:
        done = [pool.submit(migrate.apply, empty_url) for _ in range(10)]
        names = [name for each in done for name in each.result(timeout=ENDING)]
    assert names == ALL
    assert applied(empty_url) == ALL


APPLYING = "import sys; from sql.migrate import apply; print(*apply(sys.argv[1]), sep='\\n')"


def test_apply__processes_at_once__each_migration_once(empty_url: str) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", APPLYING, empty_url],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    outputs = [process.communicate(timeout=ENDING) for process in processes]
    assert [error for _, error in outputs] == [""] * 4
    assert [name for said, _ in outputs for name in said.split()] == ALL


CONCURRENTLY = """-- no transaction
CREATE INDEX CONCURRENTLY IF NOT EXISTS jobs_by_worker ON jobs (worker);
-- next
CREATE INDEX CONCURRENTLY IF NOT EXISTS jobs_by_code ON jobs (code);
"""


def test_apply__no_transaction__statements_that_cannot_run_inside_one(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, **{"9000_indexes": CONCURRENTLY})
    assert migrate.apply(empty_url)[-1] == "9000_indexes"
    valid = (
        "SELECT count(*) FROM pg_index WHERE indisvalid"
        " AND indexrelid IN ('jobs_by_worker'::regclass, 'jobs_by_code'::regclass)"
    )
    assert one(empty_url, valid) == 2
    assert migrate.apply(empty_url) == []


def test_apply__no_transaction_while_others_wait__does_not_deadlock(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CREATE INDEX CONCURRENTLY waits for other transactions; those in the queue hold none."""
    use(monkeypatch, **{"9000_indexes": CONCURRENTLY})
    with ThreadPoolExecutor(6) as pool:
        done = [pool.submit(migrate.apply, empty_url) for _ in range(6)]
        names = [name for each in done for name in each.result(timeout=ENDING)]
    assert names == [*ALL, "9000_indexes"]


def test_apply__name_of_the_table_is_taken__is_an_error(empty_url: str) -> None:
    with psycopg.connect(empty_url) as connection:
        connection.execute("CREATE TYPE jobtrail_migrations AS ENUM ()")
    with pytest.raises(psycopg.errors.DuplicateObject, match="jobtrail_migrations"):
        migrate.apply(empty_url)


def test_apply__another_migrates_for_long__is_logged_with_its_session(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate.apply(empty_url)
    monkeypatch.setattr(migrate, "WAIT_REPORT_SECONDS", 0.0)
    with capture_logs() as logs, ThreadPoolExecutor(1) as pool:
        with psycopg.connect(empty_url, application_name="other") as other:
            other.execute("LOCK TABLE jobtrail_migrations IN SHARE UPDATE EXCLUSIVE MODE")
            pid = other.info.backend_pid
            applying = pool.submit(migrate.apply, empty_url)
            eventually(lambda: bool(logs))
        assert applying.result(ENDING) == []
    [waiting] = [line for line in logs if line["event"] == "waiting_for_other_migrations"]
    assert f"(other), pid {pid}" in waiting["held_by"]


def test_migrations__files_of_other_kinds__are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "migrations").mkdir()
    for name in ("0001_a.sql", "0001_a.sql.bak", "0002_b.sql~", "0002_b.sql"):
        (tmp_path / "migrations" / name).write_text("SELECT 1")
    monkeypatch.setattr(migrate, "files", lambda _: tmp_path)
    assert [each.name for each in migrate.migrations()] == ["0001_a", "0002_b"]


def test_apply__failure__leaves_earlier_ones_applied_and_nothing_of_itself(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = "CREATE TABLE half (x int); SELECT 1 / 0"
    use(
        monkeypatch,
        **{"9000_good": "CREATE TABLE good (x int)", "9001_bad": broken, "9002_next": "SELECT 1"},
    )
    with pytest.raises(psycopg.errors.DivisionByZero):
        migrate.apply(empty_url)
    assert applied(empty_url) == [*ALL, "9000_good"]
    assert migrate.missing(empty_url) == ["9001_bad", "9002_next"]
    assert one(empty_url, "SELECT to_regclass('half') IS NULL AND to_regclass('good') IS NOT NULL")
    use_fixed = [*migrate.migrations()[:-2], Migration("9001_bad", "SELECT 1")]
    monkeypatch.setattr(migrate, "migrations", lambda: use_fixed)
    assert migrate.apply(empty_url) == ["9001_bad"]


def test_apply__failure_without_transaction__is_not_recorded_and_can_be_repeated(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, **{"9000_indexes": CONCURRENTLY + "-- next\nSELECT 1 / 0\n"})
    for _ in range(2):
        with pytest.raises(psycopg.errors.DivisionByZero):
            migrate.apply(empty_url)
    assert migrate.missing(empty_url) == ["9000_indexes"]


def test_apply__server_away__is_an_error_of_the_driver(postgres_server: EmbeddedPostgres) -> None:
    with pytest.raises(psycopg.OperationalError):
        migrate.apply(url_of(postgres_server, "no_such_database"))


def test_states__check_of_the_table__equals_the_enum(database_url: str) -> None:
    text = one(
        database_url,
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE conrelid = 'jobs'::regclass AND conname = 'jobs_state_check'",
    )
    assert set(re.findall(r"'(\w+)'", text)) == {state.value for state in State}, (
        "streams.kinds.State and the CHECK on jobs.state differ: add a migration that replaces"
        " jobs_state_check (and ended_and_ended_at for a state that ends) with State's values"
    )


def test_ended_states__check_of_the_table__equals_the_enum(database_url: str) -> None:
    text = one(
        database_url,
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'ended_and_ended_at'",
    )
    assert set(re.findall(r"'(\w+)'", text)) == {state.value for state in State if state.ended}, (
        "the states that State.ended names and those of the constraint ended_and_ended_at differ:"
        " add a migration that replaces it"
    )


@pytest.mark.parametrize(
    "path", sorted((ROOT / "sql" / "queries").glob("*.sql")), ids=lambda p: p.stem
)
def test_queries__every_file__has_named_statements_that_all_have_a_name(path: Path) -> None:
    statements = queries(path.stem)
    assert statements
    assert all(body.rstrip().endswith(";") for body in statements.values())
    assert len(re.findall(r"^-- name: ", path.read_text(), re.MULTILINE)) == len(statements)


def test_apply__index_that_a_crash_left_invalid__is_built_again(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    statement = "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS one_each ON numbers (n)"
    with psycopg.connect(empty_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE numbers AS SELECT 1 AS n FROM generate_series(1, 2)")
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute(statement)
        connection.execute("DELETE FROM numbers WHERE ctid = '(0,1)'")
    use(monkeypatch, **{"9999_one_each": f"-- no transaction\n{statement}"})
    migrate.apply(empty_url)
    assert one(empty_url, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'one_each'::regclass")

"""The old tables' indexes: built under load, after a crash, and taken back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Self
from uuid import uuid4

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from ops.devstack import EmbeddedPostgres
from sql.indexes import index_state
from sql.old_indexes import NAMES, build, look, take_back
from sql.sessions import Session, connect
from tests.support.servers import database_url as url_of
from tests.support.servers import drop_database
from tests.support.thorough import THOROUGH
from tests.support.waiting import eventually

MANY, SOME = 1_000_000 if THOROUGH else 200_000, 20_000
"""Students: as many as the old system may have, and enough for a plan to prefer an index."""

TABLES = """
CREATE TABLE students (
    id bigserial PRIMARY KEY, tenant_id bigint NOT NULL, name text NOT NULL,
    parent_phone text NOT NULL, ps_number text NOT NULL, deleted_at timestamptz
);
CREATE TABLE aijob (
    id bigserial PRIMARY KEY, tenant_id text NOT NULL, job_id text NOT NULL, status text NOT NULL
);
CREATE TABLE video (
    id bigserial PRIMARY KEY, tenant_id bigint NOT NULL, session_id bigint NOT NULL,
    status text NOT NULL
);
"""
FILL = """
INSERT INTO students (tenant_id, name, parent_phone, ps_number, deleted_at)
SELECT n % 500, 'name' || n % 5000, '010' || lpad(n::text, 8, '0'), 'ps' || n,
    CASE WHEN n % 20 = 0 THEN now() END
FROM generate_series(1, %(rows)s) AS n;
INSERT INTO aijob (tenant_id, job_id, status)
SELECT n % 500, 'job' || n, (ARRAY['DONE', 'DONE', 'DONE', 'FAILED', 'PROCESSING'])[1 + n % 5]
FROM generate_series(1, %(rows)s / 5) AS n;
INSERT INTO video (tenant_id, session_id, status)
SELECT n % 500, n % 9000, (ARRAY['READY', 'READY', 'READY', 'FAILED', 'PROCESSING'])[1 + n % 5]
FROM generate_series(1, %(rows)s / 5) AS n;
ANALYZE students, aijob, video;
"""

QUERIES = {
    "idx_student_tenant_name_phone": "SELECT id FROM students WHERE deleted_at IS NULL AND"
    " (tenant_id, name, parent_phone) IN ((7, 'name7', '01000000507'), (7, 'name8', 'x'))",
    "idx_student_tenant_name_phone_deleted": "SELECT id FROM students WHERE deleted_at IS NOT NULL"
    " AND (tenant_id, name, parent_phone) IN ((20, 'name20', '01000000020'), (7, 'name8', 'x'))",
    "idx_student_tenant_ps_number": "SELECT id FROM students"
    " WHERE tenant_id = 7 AND ps_number = 'ps507'",
    "idx_aijob_tenant_status": "SELECT id FROM aijob"
    " WHERE tenant_id = '7' AND status = 'PROCESSING'",
    "idx_aijob_tenant_job_id": "SELECT id FROM aijob WHERE tenant_id = '7' AND job_id = 'job507'",
    "idx_video_tenant_status": "SELECT id FROM video WHERE tenant_id = 7 AND status = 'FAILED'",
    "idx_video_session_status": "SELECT id FROM video"
    " WHERE session_id = 7 AND status = 'PROCESSING'",
}
"""A query that each index is for."""


@contextmanager
def database_of(postgres_server: EmbeddedPostgres, students: int) -> Iterator[str]:
    """Make a database as the old system has it, and give its URL."""
    name = f"old_{uuid4().hex}"
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
        url = url_of(postgres_server, name)
        with psycopg.connect(url, autocommit=True) as filled:
            filled.execute(TABLES)
            for statement in FILL.split(";")[:-1]:
                filled.execute(SQL(statement.replace("%(rows)s", str(students))))
        yield url
    drop_database(postgres_server, name)


@pytest.fixture(scope="module")
def old_database(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    with database_of(postgres_server, SOME) as url:
        yield url


@pytest.fixture
def old(old_database: str) -> Iterator[Session]:
    """A session in that database, none of the indexes there."""
    with connect(old_database, "test") as connection:
        list(take_back(connection))
        yield connection


class Writers:
    """Two sessions that write all the while; the server ends a wait for a lock of over 100 ms."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(n,)) for n in range(2)]
        self.written = 0
        self.blocked: list[psycopg.Error] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        eventually(lambda: self.written > 20)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _write(self, number: int) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute("SET lock_timeout = '100ms'")
            while not self._stop.is_set():
                try:
                    connection.execute(
                        "INSERT INTO students (tenant_id, name, parent_phone, ps_number)"
                        " VALUES (%s, 'new', '010', 'new')",
                        (number,),
                    )
                    connection.execute(
                        "UPDATE students SET name = name || '!' WHERE id = %s",
                        (1 + self.written % 1000 + number * 1000,),
                    )
                except psycopg.errors.LockNotAvailable as error:
                    self.blocked.append(error)
                self.written += 1


def test_no_write_waits_while_they_are_built_on_a_million_rows(
    postgres_server: EmbeddedPostgres,
) -> None:
    with (
        database_of(postgres_server, MANY) as url,
        connect(url, "test") as old,
        Writers(url) as writers,
    ):
        before = writers.written
        reports = list(build(old))
        during = writers.written - before
    assert [(report.found, report.done) for report in reports] == [("absent", "built")] * 7
    assert writers.blocked == []
    assert during > 50


def test_each_is_used_by_the_query_that_it_is_for(old: Session) -> None:
    list(build(old))
    assert set(QUERIES) == set(NAMES)
    for name, query in QUERIES.items():
        plan = "\n".join(line for (line,) in old.execute(f"EXPLAIN {query}"))
        assert name in plan, plan
        assert "Seq Scan" not in plan


def test_what_a_crash_left_is_built_again(old: Session, old_database: str) -> None:
    name = NAMES[0]
    with psycopg.connect(old_database) as reader:
        # Whoever builds waits for this snapshot to end, when all but the last step is done.
        reader.execute("SELECT count(*) FROM aijob WHERE id = 1")
        reader.execute("UPDATE students SET name = name WHERE id = 1")
        builder = connect(old_database, "test")
        thread = threading.Thread(target=_build_until_killed, args=(builder,))
        thread.start()
        eventually(lambda: index_state(old, name) == "building")
        old.execute("SELECT pg_terminate_backend(%s)", (builder.info.backend_pid,))
        thread.join()
        builder.close()
    eventually(lambda: index_state(old, name) == "invalid")
    reports = {report.name: report for report in build(old)}
    assert reports[name].done == "rebuilt"
    assert [report.found for report in look(old)] == ["valid"] * 7


def _build_until_killed(connection: Session) -> None:
    with suppress(psycopg.OperationalError):
        list(build(connection))


def test_a_table_of_another_shape_costs_no_other_its_indexes(
    old: Session,
) -> None:
    old.execute("CREATE TABLE clips (id bigint, session_id bigint, status text)")
    reports = {report.name: report.done for report in build(old, {"video": "clips"})}
    old.execute("DROP TABLE clips")
    assert reports.pop("idx_video_tenant_status") == "no such column"
    assert set(reports.values()) == {"built"}


def test_building_again_changes_nothing_and_dropping_takes_all_back(
    old: Session,
) -> None:
    list(build(old))
    assert [report.done for report in build(old)] == [""] * 7
    assert [report.done for report in take_back(old)] == ["dropped"] * 7
    assert [report.found for report in look(old)] == ["absent"] * 7

"""The roster import and the row-by-row import that it replaces, with the same data in one run."""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, LiteralString, NamedTuple

import orjson
import psutil  # type: ignore[import-untyped]
import psycopg
import xlsxwriter  # type: ignore[import-untyped]

from benchmarks.measure import alternate, seconds
from benchmarks.report import Figure
from benchmarks.servers import Bench, Running
from streams.appender import EventAppender
from streams.event_ids import new_event_id
from streams.reporter import Reporter
from workers.roster.importer import Job, import_roster
from workers.roster.passwords import hash_password
from workers.roster.reader_client import read_workbook
from workers.roster.table.rows import Student

ROUNDS = 3
TENANT = "roster"
PASSWORD = "first-1234"
TICK = 0.02
HEADER = "이름 학부모전화번호 학생전화번호 학교 학년 반 계열 성별 메모".split()

_EMPTY = "TRUNCATE roster.students, roster.users, roster.memberships, roster.parents"
_ACTIVE = """
SELECT id FROM roster.students
WHERE tenant = %s AND name = %s AND parent_phone = %s AND deleted_at IS NULL
"""
_DELETED = """
SELECT id FROM roster.students
WHERE tenant = %s AND name = %s AND parent_phone = %s AND deleted_at IS NOT NULL
"""
_USER = """
INSERT INTO roster.users (tenant, username, password, name, phone)
VALUES (%s, %s, %s, %s, %s) RETURNING id
"""
_FIND_PARENT = "SELECT id FROM roster.parents WHERE tenant = %s AND phone = %s"
_PARENT = "INSERT INTO roster.parents (tenant, phone) VALUES (%s, %s) RETURNING id"
_STUDENT = """
INSERT INTO roster.students (
    tenant, user_id, parent_id, name, parent_phone, phone, school_type, high_school,
    high_school_class, major, grade, gender, memo, ps_number
) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
_MEMBER = "INSERT INTO roster.memberships (tenant, user_id, role) VALUES (%s, %s, 'student')"


class Cost(NamedTuple):
    """The seconds of one import, and the most memory of its two processes."""

    seconds: float
    importer_bytes: int
    reader_bytes: int


def roster(bench: Bench) -> list[Figure]:
    """Import 5,000 students both ways, then 50,000 and 200,000."""
    with tempfile.TemporaryDirectory(prefix="jobtrail-bench-") as folder:
        return [_beside_rows(bench, Path(folder)), *_growing(bench, Path(folder))]


def _beside_rows(bench: Bench, folder: Path) -> Figure:
    count = bench.scaled(5_000, least=100)
    path = _workbook(folder, count)

    def as_a_set() -> float:
        _clear(bench)
        return count / seconds(lambda: _as_a_set(bench, path))

    def row_by_row() -> float:
        _clear(bench)
        return count / seconds(lambda: _row_by_row(bench, path))

    pair = alternate(bench.rounds(ROUNDS), as_a_set, row_by_row)
    return Figure(
        f"import {count:,} students, beside row by row",
        pair.ratio,
        10,
        at_least=True,
        product=f"{pair.product:,.0f} /s",
        limit=f"{pair.limit:,.0f} /s",
        rounds=pair.rounds,
    )


def _growing(bench: Bench, folder: Path) -> list[Figure]:
    """Compare four times the students: in about four times the time, in the same memory."""
    few, many = (bench.scaled(count, least=500) for count in (50_000, 200_000))
    costs = [_import(bench, _workbook(folder, count)) for count in (few, many)]
    each = [cost.seconds / count for cost, count in zip(costs, (few, many), strict=True)]
    details = {"students": [few, many], "costs": [cost._asdict() for cost in costs]}
    return [
        Figure(
            f"import {many:,} students, time for each beside {few:,}",
            each[1] / each[0],
            1.25,
            product=f"{1 / each[1]:,.0f} /s",
            limit=f"{1 / each[0]:,.0f} /s",
            details=details,
        ),
        _memory(f"import {many:,} students, memory beside {few:,}",
                costs[1].importer_bytes, costs[0].importer_bytes),
        _memory(f"import {many:,} students, memory of the reader beside {few:,}",
                costs[1].reader_bytes, costs[0].reader_bytes),
    ]  # fmt: skip


def _memory(name: str, product: int, limit: int) -> Figure:
    return Figure(
        name,
        product / limit,
        1.1,
        product=f"{product / 1e6:,.0f} MB",
        limit=f"{limit / 1e6:,.0f} MB",
    )


def _import(bench: Bench, path: Path) -> Cost:
    """Run the command on empty tables, in a separate process."""
    _clear(bench)
    words = ("roster", "import", str(path), "--tenant", TENANT, "--json")
    started = time.monotonic()
    with bench.jobtrail(*words, environ={"JOBTRAIL_ROSTER_PASSWORD": PASSWORD}) as running:
        importer, reader = _peaks(running)
        took = time.monotonic() - started
        result = orjson.loads(running.wait_for_output('"result"'))["result"]
    _expect_all(result)
    return Cost(took, importer, reader)


def _peaks(running: Running) -> tuple[int, int]:
    importer = reader = 0
    while running.running:
        own, children = _memory_of(running.pid)
        importer, reader = max(importer, own), max(reader, children)
        time.sleep(TICK)
    return importer, reader


def _memory_of(pid: int) -> tuple[int, int]:
    try:
        process = psutil.Process(pid)
        children = sum(child.memory_info().rss for child in process.children())
        return process.memory_info().rss, children
    except psutil.NoSuchProcess:
        return 0, 0


def _clear(bench: Bench) -> None:
    with psycopg.connect(bench.postgres.url, autocommit=True) as connection:
        connection.execute(_EMPTY)


def _as_a_set(bench: Bench, path: Path) -> None:
    """Import like the command, including progress, but without the start of Python."""
    job = Job(path, TENANT, new_event_id())
    url, reporter = bench.postgres.url, Reporter(EventAppender(bench.client))
    result = import_roster(job, password=PASSWORD, database_url=url, reporter=reporter)
    _expect_all(result)


def _expect_all(result: Mapping[str, Any]) -> None:
    if result["created"] != result["total"]:
        raise RuntimeError(f"not all students were imported: {result}")


def _row_by_row(bench: Bench, path: Path) -> None:
    """Look up and store each student separately, like the import that this one replaces.

    The plan of the import counts the statements of that way, about 25,000 for 5,000 rows: two
    SELECTs for each row (the active and the deleted student) and three INSERTs (user, student and
    membership). In addition it names `ensure_parent_for_student`, once for each student: a SELECT
    of the parent, and an INSERT. Only these statements are sent here, in one transaction for each
    row; without a transaction, each INSERT would wait for the disk.

    Where the plan says nothing, the cheaper assumption is made: no SELECT for a `ps_number` that is
    taken, and none for the membership; progress as rarely as in the import, though the old way
    reported it for each row; and the same reader of the sheet. In addition, the password is not
    hashed for each student, as the plan says, because that takes far longer than everything
    else.
    """
    reporter = Reporter(EventAppender(bench.client))
    with (
        reporter.job(new_event_id(), tenant=TENANT, job_type="excel") as job,
        read_workbook(path) as reading,
        psycopg.connect(bench.postgres.url, autocommit=True) as connection,
    ):
        hashed = hash_password(PASSWORD)
        for done, row in enumerate(reading.rows, start=1):
            if isinstance(row, Student):
                _save_one(connection, row, hashed)
            job.progress("saving", percent=100 * done / reading.total)


def _save_one(connection: psycopg.Connection, row: Student, hashed: str) -> None:
    pair = (TENANT, row.name, row.parent_phone)
    if _first(connection, _ACTIVE, pair) or _first(connection, _DELETED, pair):
        return
    number = str(secrets.randbelow(10**12))
    with connection.transaction():
        user = _first(connection, _USER, (TENANT, number, hashed, row.name, row.phone))
        parent = _first(connection, _FIND_PARENT, (TENANT, row.parent_phone)) or _first(
            connection, _PARENT, (TENANT, row.parent_phone)
        )
        fields = (
            TENANT, user, parent, row.name, row.parent_phone, row.phone, row.school_type,
            row.school, row.high_school_class, row.major, row.grade, row.gender, row.memo, number,
        )  # fmt: skip
        connection.execute(_STUDENT, fields)
        connection.execute(_MEMBER, (TENANT, user))


def _first(connection: psycopg.Connection, query: LiteralString, values: Sequence[Any]) -> Any:
    """Return the first column of the first row, or None."""
    row = connection.execute(query, values).fetchone()
    return None if row is None else row[0]


def _workbook(folder: Path, count: int) -> Path:
    path = folder / f"{count}.xlsx"
    if not path.exists():
        with xlsxwriter.Workbook(path) as book:
            sheet = book.add_worksheet()
            sheet.write_row(0, 0, HEADER)
            for number in range(count):
                sheet.write_row(number + 1, 0, _cells(number))
    return path


def _cells(number: int) -> list[Any]:
    return [
        f"학생{number}", f"010{number:08d}", f"010{50_000_000 + number:08d}",
        f"한빛{number % 300}고등학교", number % 3 + 1, f"{number % 12 + 1}", "이과", "여",
        f"메모 {number}",
    ]  # fmt: skip

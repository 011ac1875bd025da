"""The figures of jobs: at any moment what counting the table would give, and cheap to read."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from projections.decoding import Entry, decode
from projections.reading.all_tenants import figures
from projections.rows.writer import JobRows
from sql import queries, sessions
from streams.entry_ids import EntryId
from streams.events import dump_json
from tests.support.job_figures import SUMMED, expect_figures

QUERIES = queries("figures")
TYPES = ("excel", "omr", None)
CODES = ("timeout", "bad_file", None)
Connection = psycopg.Connection[tuple[Any, ...]]


def entries_of(count: int, seed: int) -> list[Entry]:
    """Return events of some tenants' jobs in the last two hours and long ago, in random order."""
    draw = random.Random(seed)
    now = int(datetime.now(UTC).timestamp() * 1000)
    found = []
    for seq in range(count):
        ms = (
            now - draw.choice((0, 60_000, 7_000_000, 80_000_000, 9_000_000_000)) - draw.randrange(9)
        )
        kind = draw.choice(("queued", "processing", "progress", "done", "failed", "cancelled"))
        event: dict[str, Any] = {
            "type": kind,
            "id": f"j{draw.randrange(count // 5)}",
            "kind": draw.choice(("job", "video")),
            "attempt": draw.randrange(1, 3),
        }
        if (job_type := draw.choice(TYPES)) is not None:
            event["job_type"] = job_type
        if kind == "failed" and (code := draw.choice(CODES)) is not None:
            event["code"] = code
        if kind == "done":
            event["result"] = {"text": "x" * draw.randrange(100)}
        tenant = f"t{draw.randrange(3)}"
        found.append(decode(tenant, EntryId(ms, seq), [b"event", dump_json(event)]))
    return found


def compact(db: Connection, at_once: int = 1_000) -> Any:
    row = db.execute(QUERIES["compact"], {"at_once": at_once}).fetchone()
    return row and row[0]


@pytest.fixture
def rows(database_url: str) -> Iterator[JobRows]:
    writer = JobRows(lambda: sessions.connect(database_url, "test"))
    yield writer
    writer.close()


@pytest.fixture
def db(database_url: str) -> Iterator[Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def test_figures__whoever_writes_the_rows__equal_a_count_of_them(
    rows: JobRows, db: Connection
) -> None:
    """Batches in any order, twice, reopened jobs, changes and deletions past the writer."""
    entries = entries_of(400, seed=1)
    for at in range(0, len(entries), 37):
        rows.apply(entries[at : at + 37])
        expect_figures(db)
        if at % 3 == 0:
            rows.apply(entries[max(0, at - 50) : at])
            assert compact(db, at_once=50) in range(51)
    expect_figures(db)
    with suppress(psycopg.Rollback), db.transaction():
        rows_before = db.execute(SUMMED).fetchall()
        db.execute("UPDATE jobs SET state = 'failed', code = 'x', ended_at = now() WHERE id < 'j3'")
        db.execute("DELETE FROM jobs WHERE id > 'j5'")
        assert db.execute(SUMMED).fetchall() != rows_before
        raise psycopg.Rollback
    db.execute("UPDATE jobs SET state = 'failed', code = 'x', ended_at = now() WHERE id < 'j3'")
    db.execute("DELETE FROM jobs WHERE id > 'j5'")
    expect_figures(db)
    while compact(db):
        expect_figures(db)
    assert db.execute("SELECT count(*) FROM job_figure_changes").fetchone() == (0,)
    db.execute("TRUNCATE jobs")
    assert db.execute(SUMMED).fetchall() == []


def test_figures__mere_progress__appends_nothing(rows: JobRows, db: Connection) -> None:
    now = int(datetime.now(UTC).timestamp() * 1000)

    def event(seq: int, **fields: Any) -> Entry:
        return decode("t", EntryId(now, seq), [b"event", dump_json({"id": "j1", **fields})])

    rows.apply([event(1, type="processing", job_type="excel")])
    appended = db.execute("SELECT count(*) FROM job_figure_changes").fetchone()
    rows.apply([event(seq, type="progress", percent=seq) for seq in range(2, 30)])
    assert db.execute("SELECT count(*) FROM job_figure_changes").fetchone() == appended


def test_compact__while_another_session_compacts__leaves_it_to_that_one(
    rows: JobRows, db: Connection, database_url: str
) -> None:
    rows.apply(entries_of(50, seed=2))
    with psycopg.connect(database_url) as other:
        other.execute(QUERIES["compact"], {"at_once": 5})
        assert compact(db) is None
        rows.apply(entries_of(60, seed=3))  # a writer does not wait
        other.rollback()
    assert compact(db)
    expect_figures(db)


def test_compact__figures_of_the_day_before_yesterday__are_dropped(
    rows: JobRows, db: Connection
) -> None:
    rows.apply(entries_of(100, seed=4))
    compact(db)
    total = "SELECT sum(n) FROM job_figures WHERE bin = '-infinity' AND tenant = ''"
    before = db.execute(total).fetchone()
    db.execute("UPDATE job_figures SET bin = bin - interval '2 days' WHERE bin > '-infinity'")
    compact(db)
    lately = db.execute("SELECT count(*) FROM job_figures WHERE bin > '-infinity'").fetchone()
    assert (lately, db.execute(total).fetchone()) == ((0,), before)


def read(url: str, name: str, *arguments: Any) -> Any:
    """Return the result of a function of `figures` on a new connection."""

    async def run() -> Any:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            return await getattr(figures, name)(connection, *arguments)

    return asyncio.run(run())


def test_read__what_customers_feel__is_there_by_type(
    rows: JobRows, db: Connection, database_url: str
) -> None:
    entries = entries_of(300, seed=5)
    rows.apply(entries)
    since = datetime.now(UTC) - timedelta(hours=1)
    found = read(database_url, "read_figures", since)
    jobs = db.execute(
        "SELECT kind, job_type, state, ended_at >= %s AND ended_at IS NOT NULL, code FROM jobs",
        (since,),
    ).fetchall()
    assert found["now"] == {state: sum(job[2] == state for job in jobs) for state in figures.STATES}
    # A minute that began before the hour belongs to neither: both are far from it here.
    assert found["lately"]["failed"] == sum(job[3] and job[2] == "failed" for job in jobs)
    codes = Counter(job[4] for job in jobs if job[:4] == ("job", "excel", "failed", True))
    (excel,) = [e for e in found["types"] if (e["kind"], e["job_type"]) == ("job", "excel")]
    assert {each["code"]: each["count"] for each in excel["codes"]} == codes
    assert not found["more_types"]
    assert excel["recent"]["failed"] <= excel["failed"]
    series = read(database_url, "read_series", since, 300)
    assert sum(n for _, figure, n, _ in series if figure == "failed") == found["lately"]["failed"]
    assert all(n / 5 <= most <= n for _, _, n, most in series)  # a step has five minutes
    by_tenant = read(database_url, "read_tenants", since)
    assert sum(jobs for jobs, _, _ in by_tenant.values()) == len(jobs)
    one = read(database_url, "read_tenant", "t1", since)
    assert sum(each["count"] for each in one["states"]) == by_tenant["t1"][0]
    assert sum(each["failed"] for each in one["failures"]) == by_tenant["t1"][2]


def test_read__ends_of_the_last_minutes__say_whether_failures_go_on(
    rows: JobRows, db: Connection, database_url: str
) -> None:
    now = datetime.now(UTC)
    failing = [("new", 10, "failed"), ("over", 1_800, "failed"), ("good", 10, "done")]
    for job_type, seconds, end in failing:
        ended = EntryId(int((now.timestamp() - seconds) * 1_000), 0)
        raw = f'{{"type":"{end}","id":"{job_type}","job_type":"{job_type}"}}'.encode()
        rows.apply([decode("42", ended, [b"event", raw])])
    types = read(database_url, "read_figures", now - timedelta(hours=1))["types"]
    recent = {each["job_type"]: each["recent"] for each in types}
    assert (recent["new"]["failed"], recent["over"]["failed"]) == (1, 0)
    assert recent["good"] is None
    for job_type, seconds, _ in failing[:2]:
        minute = (now.timestamp() - seconds) // 60 * 60_000
        assert recent[job_type]["last_failed_at"] == minute


def test_read_running__the_longest_first__and_how_many_are_silent(
    rows: JobRows, database_url: str
) -> None:
    now = int(datetime.now(UTC).timestamp() * 1000)
    rows.apply(
        [
            decode(
                "t",
                EntryId(now - minutes * 60_000, 0),
                [b"event", dump_json({"type": "processing", "id": f"since-{minutes}"})],
            )
            for minutes in (1, 30, 200)
        ]
    )
    found = read(database_url, "read_running", now - 15 * 60_000, now - 75 * 60_000, 2)
    assert [job["id"] for job in found.slowest] == ["since-200", "since-30"]
    assert found[1:] == (3, 2, 1)


@pytest.mark.parametrize("seconds", [0.001, 0.5, 1, 7.3, 600, 86_400, 30 * 86_400])
def test_percentile__a_duration__is_met_within_nine_percent(db: Connection, seconds: float) -> None:
    row = db.execute("SELECT figure_step(%s * interval '1 second')", (seconds,)).fetchone()
    assert row is not None
    found = figures.percentile({row[0]: 1, row[0] + 8: 0}, 0.95)
    assert found == pytest.approx(seconds, rel=0.1)


def test_percentile__of_several__is_the_one_that_the_share_is_below() -> None:
    took = {0: 50, 40: 45, 80: 5}
    assert figures.percentile(took, 0.5) == pytest.approx(0.00109, rel=0.01)
    assert figures.percentile(took, 0.95) == pytest.approx(1.12, rel=0.01)
    assert figures.percentile({}, 0.5) is None


def test_figures__a_tenants_reader__sees_none_of_them(rows: JobRows, db: Connection) -> None:
    rows.apply(entries_of(50, seed=6))
    with db.transaction():
        db.execute("SET LOCAL ROLE jobtrail_api")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            db.execute("SELECT count(*) FROM job_figures")

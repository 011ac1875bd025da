"""Pages of lists, compared with a read of all rows; each page has few candidates."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, TypeVar, cast

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import AsyncConnection

from projections.decoding import Entry, decode
from projections.reading import jobs as jobs_reading
from projections.reading.jobs import (
    ListCursor,
    ListFilters,
    PipelinedRead,
    RowPage,
    read_job,
    read_page,
)
from projections.rows.writer import JobRows
from sql import queries, sessions
from streams.entry_ids import EntryId
from streams.keys import JobKey
from streams.kinds import State
from tests.support.thorough import examples

T = TypeVar("T")
Read = Callable[[str, PipelinedRead[Any]], Any]

fresh = count()
real_server = settings(
    max_examples=examples(60),
    # The database outlives an example; each example has another tenant.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    deadline=None,
)

HOUR = 3_600_000
JOBS = [f"a{number}" for number in range(8)]
TYPES = "queued processing progress done failed cancelled".split()


@pytest.fixture
def rows(database_url: str) -> Iterator[JobRows]:
    """A writer."""
    made = JobRows(lambda: sessions.connect(database_url, "test"))
    yield made
    made.close()


@pytest.fixture
def db(database_url: str) -> Iterator[psycopg.Connection]:
    """A connection as the owner of the tables."""
    with psycopg.connect(database_url, autocommit=True, options="-c timezone=UTC") as connection:
        yield connection


@pytest.fixture
def read(database_url: str) -> Iterator[Read]:
    """A function that runs a read as a tenant, in the role of the API."""
    reading = queries("reading")
    with asyncio.Runner() as runner:

        async def connected() -> AsyncConnection[tuple[Any, ...]]:
            return await AsyncConnection.connect(
                database_url, autocommit=True, options="-c timezone=UTC"
            )

        async def one(tenant: str, wanted: PipelinedRead[T]) -> T:
            async with connection.pipeline():
                await connection.execute(reading["begin"])
                asking = {"tenant": tenant, "timeout_ms": 60_000}
                await connection.execute(reading["become_reader"], asking)
                fetch: Callable[[], Awaitable[T]] = await wanted(connection)
                await connection.execute(reading["commit"])
            return await fetch()

        connection = runner.run(connected())
        yield lambda tenant, wanted: runner.run(one(tenant, wanted))
        runner.run(connection.close())


@pytest.fixture(autouse=True)
def few_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limit pages to three candidates, so that small lists have many pages."""
    monkeypatch.setattr(jobs_reading, "SCAN", 3)


def event(job: JobKey, ms: int, type_: str, **fields: Any) -> Entry:
    raw = json.dumps({"type": type_, "kind": job.kind, "id": job.id, **fields}).encode()
    return decode(job.tenant, EntryId(ms, 0), [b"event", raw])


@st.composite
def entries(draw: st.DrawFn, tenant: str, ids: list[str] = JOBS) -> list[Entry]:
    """Events of some jobs within two days; a later one may report an earlier beginning."""
    told = draw(
        st.lists(
            st.tuples(
                st.sampled_from(ids),
                st.integers(0, 48),
                st.sampled_from(TYPES),
                st.sampled_from([{}, {"job_type": "x"}, {"job_type": "y"}]),
                st.dictionaries(st.sampled_from("lm"), st.sampled_from("12"), max_size=2),
            ),
            min_size=1,
            max_size=14,
        )
    )
    return [
        event(JobKey(tenant, "job", id_), 1 + hours * HOUR, type_, **fields, labels=labels)
        for id_, hours, type_, fields, labels in told
    ]


filters = st.builds(
    ListFilters,
    state=st.none() | st.sampled_from(State),
    job_type=st.none() | st.sampled_from("xy"),
    labels=st.dictionaries(st.sampled_from("lm"), st.sampled_from("12"), max_size=2),
    updated_since=st.none()
    | st.integers(0, 48).map(lambda hours: datetime.fromtimestamp(hours * 3_600, UTC)),
    ids=st.none() | st.lists(st.sampled_from(JOBS), unique=True),
)


def expected(db: psycopg.Connection, tenant: str, wanted: ListFilters) -> list[str]:
    """Return the ids of the list, found among all rows of the tenant."""
    found = db.execute(
        "SELECT id, state, job_type, labels, updated_at FROM jobs"
        " WHERE tenant = %s AND kind = 'job' ORDER BY listed_at DESC, id DESC",
        (tenant,),
    )
    return [
        id_
        for id_, state, job_type, labels, updated_at in found
        if wanted.state in (None, state)
        and wanted.job_type in (None, job_type)
        and wanted.labels.items() <= labels.items()
        and (wanted.updated_since is None or updated_at >= wanted.updated_since)
        and (wanted.ids is None or id_ in wanted.ids)
    ]


def walk(
    read: Read, tenant: str, wanted: ListFilters, limit: int, between: Callable[[], None]
) -> list[str]:
    """Follow a list to its end, and do something between the pages."""
    found: list[str] = []
    after: ListCursor | None = None
    for _ in range(200):
        page = cast("RowPage", read(tenant, read_page(tenant, "job", wanted, after, limit)))
        assert len(page.rows) <= limit
        found += [row.id for row in page.rows]
        if page.next is None:
            return found
        assert after is None or page.next < after
        after = page.next
        between()
    raise AssertionError("the list has no end")


@given(st.data(), filters)
@real_server
def test_read_page__any_filters__every_row_that_passes_once_and_in_order(
    rows: JobRows,
    db: psycopg.Connection,
    read: Read,
    data: st.DataObject,
    wanted: ListFilters,
) -> None:
    tenant = f"t{next(fresh)}"
    for batch in data.draw(st.lists(entries(tenant), min_size=1, max_size=3)):
        rows.apply(batch)
    rows.apply([event(JobKey(tenant, "video", "a1"), 1, "done")])
    found = walk(read, tenant, wanted, data.draw(st.integers(1, 5)), lambda: None)
    assert found == expected(db, tenant, wanted)


@given(st.data())
@real_server
def test_read_page__rows_change_come_and_go_meanwhile__who_stood_throughout_is_met_once(
    rows: JobRows, db: psycopg.Connection, read: Read, data: st.DataObject
) -> None:
    """Later events do not move a job in the list, even if they report an earlier beginning."""
    tenant = f"t{next(fresh)}"
    rows.apply(data.draw(entries(tenant)))
    standing = set(expected(db, tenant, ListFilters()))
    leaving = set(data.draw(st.lists(st.sampled_from(sorted(standing)), max_size=1)))
    others = [f"b{number}" for number in range(8)]

    def meanwhile() -> None:
        rows.apply(data.draw(entries(tenant, JOBS + others)))
        if data.draw(st.booleans()):
            db.execute(
                "DELETE FROM jobs WHERE tenant = %s AND id = ANY(%s)", (tenant, list(leaving))
            )

    # Jobs that are added meanwhile may be found or not.
    found = walk(read, tenant, ListFilters(), data.draw(st.integers(1, 3)), meanwhile)
    for job in standing - leaving:
        assert found.count(job) == 1, job


@given(st.data())
@real_server
def test_facets__after_any_events_and_removals__say_what_the_rows_say(
    rows: JobRows, db: psycopg.Connection, data: st.DataObject
) -> None:
    tenant = f"t{next(fresh)}"
    for batch in data.draw(st.lists(entries(tenant), min_size=1, max_size=3)):
        rows.apply(batch)
    gone = data.draw(st.lists(st.sampled_from(JOBS), max_size=3))
    db.execute("DELETE FROM jobs WHERE tenant = %s AND id = ANY(%s)", (tenant, gone))
    found = db.execute(
        "SELECT id, listed_at, name, value FROM job_facets WHERE tenant = %s", (tenant,)
    ).fetchall()
    stored = db.execute(
        "SELECT id, listed_at, job_type, labels FROM jobs WHERE tenant = %s", (tenant,)
    )
    facets = [
        (id_, listed_at, name, value)
        for id_, listed_at, job_type, labels in stored
        for name, value in [
            *([("job_type", job_type)] if job_type is not None else []),
            *((f"label.{name}", value) for name, value in labels.items()),
        ]
    ]
    assert sorted(found) == sorted(facets)


def test_facets__rows_truncated__gone_too(rows: JobRows, db: psycopg.Connection) -> None:
    rows.apply([event(JobKey("t", "job", "a"), 1, "queued", job_type="x")])
    db.execute("TRUNCATE jobs, job_events")
    assert db.execute("SELECT count(*) FROM job_facets").fetchone() == (0,)


def test_listed_at__earlier_beginning_learnt_later__stays(
    rows: JobRows, db: psycopg.Connection
) -> None:
    job = JobKey("t", "job", "a")
    rows.apply([event(job, 2 * HOUR, "processing")])
    rows.apply([event(job, HOUR, "queued")])
    created, listed = db.execute("SELECT created_at, listed_at FROM jobs").fetchone() or (None,) * 2
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    assert (created, listed) == (epoch + timedelta(hours=1), epoch + timedelta(hours=2))


def test_update__progress_within_the_hour__touches_no_index(
    rows: JobRows, db: psycopg.Connection
) -> None:
    """Nine of ten events are progress: their updates are heap-only, whatever indexes exist."""
    job = JobKey("t", "job", "a")
    rows.apply([event(job, HOUR, "processing", job_type="x", labels={"l": "1"})])
    before = heap_only_updates(rows, db)
    for second in range(1, 21):
        rows.apply([event(job, HOUR + second * 1_000, "progress", percent=second)])
    assert heap_only_updates(rows, db) - before == 20


def heap_only_updates(rows: JobRows, db: psycopg.Connection) -> int:
    """Count the updates of `jobs` that wrote to no index."""
    assert rows._connection is not None
    rows._connection.execute("SELECT pg_stat_force_next_flush()")
    rows._connection.execute("SELECT 1")
    db.execute("SELECT pg_stat_clear_snapshot()")
    found = db.execute(
        "SELECT n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'jobs'"
    ).fetchone()
    assert found is not None
    return int(found[0])


def test_read_job__result_of_five_megabytes__whole(rows: JobRows, read: Read) -> None:
    job = JobKey("t", "job", "a")
    raw = json.dumps({"type": "done", "id": "a", "result": {"t": "x" * 5_000_000}}).encode()
    rows.apply([decode("t", EntryId(1, 0), [b"event", raw], 2**24)])
    row = read("t", read_job(job))
    assert row.result == '{"t":"' + "x" * 5_000_000 + '"}'
    assert row.result_bytes == len(row.result)
    listed = read("t", read_page("t", "job", ListFilters(), None, 10)).rows[0]
    assert listed == row._replace(result=None)


def test_read_page__times_at_the_ends_of_the_calendar__read_on(rows: JobRows, read: Read) -> None:
    for number, at in enumerate(["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"]):
        rows.apply([event(JobKey("t", "job", f"a{number}"), number + 1, "done", at=at)])
    assert walk(read, "t", ListFilters(), 1, lambda: None) == ["a1", "a0"]

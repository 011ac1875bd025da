"""The quick way into the history: the rows of the plain way, whatever partitions there are."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import Any, LiteralString

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.sql import SQL, Identifier

from projections.decoding import Entry
from projections.history import copy_writer
from projections.history.days import monday_of, partition_name
from projections.history.event_rows import EventRow, event_row
from projections.rows.writer import JobRows
from streams.entry_ids import EntryId
from streams.event_ids import new_event_id
from streams.keys import JobKey
from tests.support.job_tables import (
    Writer,
    check,
    event,
    partitions_of,
    uuid7_at,
    waiting_for_a_lock,
)
from tests.support.strategies import deliveries, entry_ids, logs
from tests.support.thorough import examples
from tests.support.waiting import ENDING, eventually

TODAY = datetime.now(UTC).date()
WEEK_MS = 7 * 86_400_000
fresh = count()


def noon(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp() * 1_000)


NOW = noon(TODAY)


def table(day: date = TODAY) -> str:
    """Return the name of a day's partition."""
    return partition_name(monday_of(day))


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of rows that each COPY into a partition was given."""
    counts: list[int] = []
    copy = copy_writer._copy

    def counted(connection: Any, name: Any, rows: Any, meanwhile: Callable[[], None]) -> None:
        counts.append(len(rows))
        copy(connection, name, rows, meanwhile)

    monkeypatch.setattr(copy_writer, "_copy", counted)
    return counts


def whole_history(connection: psycopg.Connection, tenant: str) -> list[tuple[Any, ...]]:
    return connection.execute(
        "SELECT kind, id, event_id, day, entry_ms, entry_seq, type, attempt, at, event, last_ms,"
        " last_seq, landings, tableoid::regclass::text FROM job_events WHERE tenant = %s"
        " ORDER BY kind, id, event_id, day",
        (tenant,),
    ).fetchall()


def plain(rows: JobRows) -> JobRows:
    """Let a writer go the plain way for ever."""
    rows._history._plain_batches = 10**9
    return rows


@given(st.data())
@settings(
    max_examples=examples(40),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    deadline=None,
)
def test_quick_way__any_batches__the_rows_of_the_plain_way(
    writer: Writer, db: psycopg.Connection, data: st.DataObject
) -> None:
    number = next(fresh)
    starts = [NOW, NOW - WEEK_MS, noon(monday_of(TODAY)) - 43_200_000 - 50, 0]
    ids = st.builds(
        lambda start, each: EntryId(start + each.ms, each.seq), st.sampled_from(starts), entry_ids
    )
    job = JobKey(f"q{number}", "job", "a1")
    batches = data.draw(deliveries(data.draw(logs(job, max_size=6, ids=ids))))
    quick, slow = writer(), plain(writer())
    for batch in batches:
        quick.apply(batch)
        quick._history._plain_batches = 0
        slow.apply([entry._replace(tenant=f"p{number}") for entry in batch])
    assert whole_history(db, f"q{number}") == whole_history(db, f"p{number}")
    quick.close()
    slow.close()


@given(
    st.lists(
        st.sampled_from(
            [None, "own", "7-0", f"{NOW}-0", f"{NOW + 3 * WEEK_MS}-0", uuid7_at(NOW), uuid7_at(1)]
            + [uuid7_at(NOW + weeks * WEEK_MS) for weeks in (-5, -4, 2, 3)]
        ),
        min_size=1,
    ),
    st.sampled_from([None, "2026-01-01T09:00:00.5+09:00", "0001-01-01T00:00:00Z"]),
)
def test_quick_way__any_event__sorted_and_written_as_the_plain_rows_say(
    event_ids: list[str | None], at: str | None
) -> None:
    entries = [
        event(f"{NOW}-{n}", "done", at=at, event_id=each) for n, each in enumerate(event_ids)
    ]
    new = copy_writer.new_events(entries)
    rows = [(event_row(entry), entry) for entry in entries]
    assert new.day_uncertain == [entry for row, entry in rows if row.day_uncertain]
    for monday, week in new.weeks.items():
        own = [row for row, _ in rows if not row.day_uncertain and monday_of(row.day) == monday]
        assert [wire_row(row) for row in own] == week.rows
    assert new.days == {row.day if row.day_uncertain else monday_of(row.day) for row, _ in rows}


def wire_row(row: EventRow) -> copy_writer.WireRow:
    """Return a plain row as COPY has it: days and microseconds since 2000, and bytes."""
    day = (row.day - date(2000, 1, 1)).days
    at = (row.at - datetime(2000, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return (*row[:4], day, *row[5:9], at, row.event.encode())


def test_quick_way__new_events_of_several_weeks__each_copied_into_its_own(
    rows: JobRows, db: psycopg.Connection, copied: list[int]
) -> None:
    monday = noon(monday_of(TODAY)) - 43_200_000
    log = [event(f"{monday + offset}-0", "progress") for offset in (-WEEK_MS, -1, 0, 1)]
    rows.apply(log)
    check(db, log)
    last = TODAY - timedelta(weeks=1)
    assert partitions_of(db) == {table(last): 2, table(): 2}
    assert copied == [2, 2]


@pytest.mark.parametrize("runs", [1, 2])
def test_quick_way__event_that_the_history_holds__plain_for_some_batches_and_then_again(
    rows: JobRows, db: psycopg.Connection, copied: list[int], runs: int
) -> None:
    """A batch counts once, however often its transaction is run."""

    def end_the_first_run() -> None:
        raise psycopg.errors.SerializationFailure

    log = [event(f"{NOW + n}-0", "progress") for n in range(copy_writer.PLAIN_BATCHES + 3)]
    rows.apply(log[:1])
    rows.apply(log[:2])
    assert copied == [1, 2]
    if runs == 2:
        rows.meanwhile = end_the_first_run
    for entry in log[2:]:
        rows.apply([entry])
    assert copied == [1, 2] + [1] * runs
    check(db, log)


@pytest.mark.parametrize("event_id", [None, "own", new_event_id()], ids=["none", "own", "uuid7"])
def test_quick_way__one_event_twice_in_a_batch_and_once_more__one_row(
    rows: JobRows, db: psycopg.Connection, event_id: str | None
) -> None:
    fields: dict[str, Any] = {} if event_id is None else {"event_id": event_id}
    twice = [event(f"{NOW}-0", "done", **fields), event(f"{NOW}-{len(fields)}", "done", **fields)]
    rows.apply(twice)
    rows.apply(twice)
    check(db, twice)


@pytest.mark.parametrize("days", [1, 6, 20])
def test_quick_way__own_event_id_that_comes_again_days_later__one_row_beside_copied_ones(
    rows: JobRows, db: psycopg.Connection, copied: list[int], days: int
) -> None:
    first = NOW - days * 86_400_000
    log = [
        event(f"{first}-0", "progress", event_id="own"),
        event(f"{first}-1", "progress"),
        event(f"{NOW}-0", "progress", event_id="own"),
        event(f"{NOW}-1", "progress"),
    ]
    rows.apply(log[:2])
    rows.apply(log[2:])
    check(db, log)
    assert copied == [1, 1]


CHANGES: dict[str, list[LiteralString]] = {
    "dropped": ["DROP TABLE {}"],
    "detached": ["ALTER TABLE job_events DETACH PARTITION {}"],
    "another table of its name": [
        "ALTER TABLE job_events DETACH PARTITION {}",
        "DROP TABLE {}",
        "CREATE TABLE {} (LIKE job_events INCLUDING ALL)",
    ],
    "security forced": ["ALTER TABLE {} FORCE ROW LEVEL SECURITY"],
}


@pytest.mark.parametrize("change", CHANGES)
def test_partition__changed_by_an_operator__events_are_read_through_the_parent(
    rows: JobRows, db: psycopg.Connection, copied: list[int], change: str
) -> None:
    rows.apply([event(f"{NOW}-0", "queued")])
    for statement in CHANGES[change]:
        db.execute(SQL(statement).format(Identifier(table())))
    rows.apply([event(f"{NOW}-1", "processing")])
    rows.apply([event(f"{NOW}-2", "done")])
    assert copied == [1]
    held = db.execute("SELECT array_agg(type ORDER BY entry_seq) FROM job_events").fetchone()
    kept = ["queued"] if change == "security forced" else []
    assert held == ([*kept, "processing", "done"],)


def test_partition__not_there_yet__kept_in_the_default_and_copied_once_it_is(
    rows: JobRows, db: psycopg.Connection, copied: list[int]
) -> None:
    rows._ready_connection()
    rows._partitions._next = time.monotonic() + 3_600  # one could not be made
    rows.apply([event(f"{NOW - WEEK_MS}-0", "progress")])
    assert (partitions_of(db), copied) == ({"job_events_default": 1}, [])
    rows._partitions._next = 0
    log = [event(f"{NOW}-{seq}", "progress") for seq in range(2)]
    rows.apply(log)
    assert (partitions_of(db), copied) == ({"job_events_default": 1, table(): 2}, [2])


def test_partition__of_other_bounds_than_its_name__the_parent_decides(
    rows: JobRows, db: psycopg.Connection
) -> None:
    long_ago = monday_of(TODAY - timedelta(weeks=60))
    rows._partitions.ensure = lambda *_: None  # type: ignore[method-assign]
    db.execute(
        SQL(
            "CREATE TABLE {} PARTITION OF job_events"
            " FOR VALUES FROM ('2001-01-01') TO ('2001-02-01')"
        ).format(Identifier(table(long_ago)))
    )
    log = [event(f"{noon(long_ago)}-0", "done")]
    rows.apply(log)
    check(db, log)
    assert partitions_of(db) == {"job_events_default": 1}


def test_partition__detached_while_a_batch_is_copied__waits_for_the_batch(
    rows: JobRows, db: psycopg.Connection, database_url: str
) -> None:
    rows.apply([event(f"{NOW}-0", "queued")])
    with (
        psycopg.connect(database_url, autocommit=True) as operator,
        ThreadPoolExecutor(1) as pool,
    ):
        detach = SQL("ALTER TABLE job_events DETACH PARTITION {}").format(Identifier(table()))
        waiting: list[Future[Any]] = []

        def meanwhile() -> None:
            waiting.append(pool.submit(operator.execute, detach))
            eventually(lambda: waiting_for_a_lock(db), what="the operator at the lock")

        rows.meanwhile = meanwhile
        rows.apply([event(f"{NOW}-1", "done")])
        waiting[0].result(timeout=ENDING)
    held = SQL("SELECT count(*) FROM {}").format(Identifier(table()))
    assert db.execute(held).fetchone() == (2,)
    assert partitions_of(db) == {}


def test_batch_that_the_partition_refuses__stores_nothing_of_it(
    rows: JobRows, db: psycopg.Connection
) -> None:
    """An event that the plain way refuses, too, fails the batch: the runner looks for the entry."""
    db.execute("ALTER TABLE job_events ADD CONSTRAINT none CHECK (type <> 'failed')")
    rows.apply([event(f"{NOW}-0", "processing")])
    bad: list[Entry] = [
        event(f"{NOW}-1", "failed"),
        event(f"{NOW}-2", "queued", job=JobKey("42", "job", "b")),
    ]
    with pytest.raises(psycopg.errors.CheckViolation):
        rows.apply(bad)
    check(db, [event(f"{NOW}-0", "processing")])
    rows.apply(bad[1:])
    check(db, [event(f"{NOW}-0", "processing"), bad[1]])

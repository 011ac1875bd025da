"""Resets of wrong documents and rows, on real servers."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
import redis

from projections.fold import fold_all
from projections.replay.comparison import Comparison
from projections.replay.events.sources import Sources
from projections.replay.repair import RowsRepair, StatusRepair, repair
from projections.replay.reset import documents
from projections.replay.reset.documents import StatusReset
from projections.replay.reset.rows import RowsReset
from projections.replay.row_lock import Busy
from projections.replay.served.documents import ServedDocuments
from projections.replay.served.rows import ServedRows
from projections.rows import writer as rows_writer
from projections.rows.writer import JobRows
from projections.status.writer import StatusCache
from streams.entry_ids import EntryId
from tests.support.replays import (
    Connect,
    append,
    differences,
    entry,
    ours,
    reset_rows,
    reset_status,
    run,
    statuses,
)


def test_reset_status__wrong_newer_surplus_and_foreign__what_the_events_say(
    redis_client: redis.Redis, rows: JobRows, cache: StatusCache, sources: Sources
) -> None:
    rows.apply(ours())
    cache.apply(ours())
    right = statuses(redis_client)
    cache.apply([entry("1", "5000000000000-0", "done", attempt=9, result={"rows": 99})])
    cache.apply([entry("3", "5000000000000-0", "progress", job="ghost", percent=3)])
    redis_client.set("tenant:1:job:b:status:status", b"written by hand")
    run(repair(sources, StatusRepair(cache, ServedDocuments(redis_client))))
    assert statuses(redis_client) != right
    reset_status(redis_client, sources)
    assert statuses(redis_client) == right
    assert not redis_client.exists("tenant:3:job:ghost:progress")


def test_reset_status__consumer_writes_between_reading_and_writing__its_event_stays(
    redis_client: redis.Redis,
    rows: JobRows,
    cache: StatusCache,
    sources: Sources,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entries = ours()
    rows.apply(entries[:2])
    cache.apply([entry("1", "5000000000000-0", "processing", attempt=9)])
    last = entries[2]
    written = StatusReset._build_write
    moves = [last]

    def meanwhile(self: Any, *arguments: Any) -> Any:
        while moves:
            append(redis_client, moves[0])
            cache.apply([moves.pop()])
        return written(self, *arguments)

    monkeypatch.setattr(StatusReset, "_build_write", meanwhile)
    assert reset_status(redis_client, sources) == 1
    monkeypatch.undo()
    assert differences(sources, ServedDocuments(redis_client)) == []
    assert b'"rows":3' in (redis_client.get("tenant:1:job:a1:status") or b"")


def wrong_fold(known: Any, events: Any) -> Any:
    """Fold with a bug: failures become successes of a later attempt."""
    state = fold_all(known, events)
    if state is None or state.state.value != "failed":
        return state
    return state._replace(state=type(state.state)("done"), attempt=7, error=None, result={})


def test_reset_rows__left_by_a_wrong_fold__found_exactly_and_replaced(
    rows: JobRows, connect: Connect, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows.apply([entry("9", "1-0", "done")])
    monkeypatch.setattr(rows_writer, "fold_all", wrong_fold)
    rows.apply(ours())
    monkeypatch.undo()
    db = connect()
    served = ServedRows(db)
    wrong = differences(sources, served)
    assert {line.split(":")[0].rpartition(" ")[0] for line in wrong} == {"2 job a1"}
    assert "2 job a1 error: served null, folded no" in wrong
    run(repair(sources, RowsRepair(connect)))
    assert differences(sources, served) == wrong
    db.execute(
        "INSERT INTO jobs SELECT tenant, kind, 'ghost', attempt, state, status, job_type,"
        " labels, worker, progress, result, error, code, created_at, started_at,"
        " updated_at, ended_at, positions FROM jobs WHERE tenant = '9'"
    )
    db.execute("DELETE FROM jobs WHERE id = 'b:status'")
    assert reset_rows(sources, served) == 3
    assert differences(sources, served) == []
    assert db.execute("SELECT count(*) FROM jobs").fetchone() == (4,)


def test_reset_rows__event_committed_after_the_copy__is_in_the_swap(
    rows: JobRows, connect: Connect, sources: Sources
) -> None:
    db = connect()
    rows.apply([entry("1", "1-0", "processing")])
    db.execute("UPDATE jobs SET attempt = 9")
    reset = RowsReset(sources, Comparison(sources, ServedRows(db)))
    run(reset.prepare())
    rows.apply([entry("1", "2-0", "done"), entry("1", "3-0", "queued", job="new")])
    assert reset.swap() == 1
    assert differences(sources, ServedRows(db)) == []
    found = db.execute("SELECT id, attempt, state FROM jobs ORDER BY id").fetchall()
    assert found == [("a1", 1, "done"), ("new", 1, "queued")]


def test_reset_rows__rows_in_use__nothing_changed(
    rows: JobRows, connect: Connect, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.replay.row_lock.LOCK_TRIES", 2)
    rows.apply([entry("1", "1-0", "processing")])
    db, holder = connect(), connect()
    db.execute("UPDATE jobs SET attempt = 9")
    reset = RowsReset(sources, Comparison(sources, ServedRows(db)), lock_seconds=0.05)
    run(reset.prepare())
    with holder.transaction():
        holder.execute("SELECT FROM jobs FOR UPDATE")
        with pytest.raises(Busy):
            reset.swap()
    assert db.execute("SELECT attempt FROM jobs").fetchone() == (9,)
    assert reset.swap() == 1


def test_reset_rows__horizon__what_the_history_no_longer_reaches_is_left(
    rows: JobRows, connect: Connect, sources: Sources
) -> None:
    """Old history is dropped by partition; of its jobs only the rows are left."""
    rows.apply([entry("1", "1-0", "done"), entry("1", "100-0", "done", job="b")])
    db = connect()
    db.execute("DELETE FROM job_events WHERE id = 'a1'")
    served = ServedRows(db)
    comparison = Comparison(sources, served, EntryId(50, 0))
    reset = RowsReset(sources, comparison)
    run(reset.prepare())
    assert reset.swap() == 0
    assert differences(sources, served) == ["1 job a1 status: served DONE, folded nothing"]


def test_reset_rows__first_event_of_a_job_with_a_wrong_row__it_is_folded_from_events_only(
    rows: JobRows, connect: Connect, sources: Sources
) -> None:
    db = connect()
    rows.apply([entry("1", "1-0", "done", job="ghost", attempt=9, result={"rows": 1})])
    db.execute("DELETE FROM job_events")
    reset = RowsReset(sources, Comparison(sources, ServedRows(db)))
    run(reset.prepare())
    rows.apply([entry("1", "2-0", "processing", job="ghost")])
    assert reset.swap() == 1
    assert differences(sources, ServedRows(db)) == []
    assert db.execute("SELECT attempt, state FROM jobs").fetchall() == [(1, "processing")]


def test_reset_rows__row_that_is_right_by_the_time_of_the_swap__it_is_not_replaced(
    rows: JobRows, connect: Connect, sources: Sources
) -> None:
    db = connect()
    labels: dict[str, Any] = {"customer": "c8"}
    progress: dict[str, Any] = {"step": "a", "percent": 3, "extra": {"pages": 2}}
    rows.apply([entry("1", "1-0", "progress", labels=labels, **progress)])
    rows.apply([entry("1", "2-0", "done", job="wrong", result={"rows": 1.5})])
    db.execute("UPDATE jobs SET attempt = attempt + 1")
    reset = RowsReset(sources, Comparison(sources, ServedRows(db)))
    run(reset.prepare())
    db.execute("UPDATE jobs SET attempt = 1 WHERE id = 'a1'")
    assert reset.swap() == 1
    assert db.execute("SELECT id FROM replaced_states").fetchall() == [("wrong",)]


def test_reset_status__consumers_always_write_first__it_ends_with_an_error(
    redis_client: redis.Redis,
    rows: JobRows,
    cache: StatusCache,
    sources: Sources,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(documents, "ROUNDS", 3)
    rows.apply([entry("1", "1-0", "processing")])
    cache.apply([entry("1", "1-0", "processing", attempt=9)])
    build, numbers = StatusReset._build_write, count(1)

    def meanwhile(self: Any, *arguments: Any) -> Any:
        cache.apply([entry("1", f"{next(numbers)}-1", "progress", attempt=9)])
        return build(self, *arguments)

    monkeypatch.setattr(StatusReset, "_build_write", meanwhile)
    with pytest.raises(
        redis.RedisError, match=r"such as tenant:1:job:a1:status, differ .* 3 times"
    ):
        reset_status(redis_client, sources)
    assert next(numbers) == 4

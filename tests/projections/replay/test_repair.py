"""Repair of lost documents, rows and history, on real servers."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import closing
from typing import Any, cast

import pytest
import redis

from projections.replay.events.sources import Sources
from projections.replay.repair import RowsRepair, StatusRepair, repair
from projections.replay.served.documents import ServedDocuments
from projections.replay.step import ReplayStep
from projections.rows.writer import JobRows
from projections.status.writer import StatusCache
from streams.keys import JobKey
from tests.support.replays import (
    Connect,
    append,
    entry,
    ours,
    run,
    statuses,
    table,
)


def test_repair_status__after_flushall__documents_are_the_same_bytes(
    redis_client: redis.Redis, rows: JobRows, cache: StatusCache, sources: Sources
) -> None:
    rows.apply(ours())
    cache.apply(ours())
    before = statuses(redis_client)
    redis_client.flushall()
    sources.read_streams()
    writer = StatusRepair(cache, ServedDocuments(redis_client))
    steps = run(repair(sources, writer))
    assert statuses(redis_client) == before
    assert len(before) == 3
    assert sum(step.events for step in steps) == 5
    assert steps[-1].last == JobKey("2", "job", "a1")
    run(repair(sources, writer))
    assert statuses(redis_client) == before


def test_repair_status__unended_and_long_ago__stays_expired(
    redis_client: redis.Redis, rows: JobRows, cache: StatusCache, sources: Sources
) -> None:
    rows.apply([entry("1", "5-0", "processing"), entry("1", "5-1", "done", job="b")])
    (step,) = run(repair(sources, StatusRepair(cache, ServedDocuments(redis_client))))
    assert step.expired == 1
    assert list(statuses(redis_client)) == [b"tenant:1:job:b:status"]


def test_repair_rows__rows_and_history_gone__restored_from_the_stream(
    redis_client: redis.Redis, rows: JobRows, connect: Connect, sources: Sources
) -> None:
    """A restored database lacks events that the stream still holds, and the group acknowledged."""
    entries = ours()
    append(redis_client, *entries)
    rows.apply(entries)
    db = connect()
    before = table(db)
    db.execute("DELETE FROM jobs")
    db.execute("DELETE FROM job_events WHERE tenant = '1'")
    sources.read_streams()
    writer = RowsRepair(connect)
    run(repair(sources, writer))
    assert table(db) == before
    assert db.execute("SELECT count(*) FROM job_events").fetchone() == (5,)


def test_repair__interrupted__goes_on_after_the_last_finished_job(
    rows: JobRows, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job whose events are divided into two batches is not finished after the first one."""
    monkeypatch.setattr("projections.replay.repair.BATCH_EVENTS", 2)
    rows.apply(ours())

    class RecordingWriter:
        applied: list[str]

        def apply(self, parts: Any) -> int:
            self.applied += [each.job.id for part in parts for each in part.held]
            return 0

    writer = RecordingWriter()
    writer.applied = []
    monkeypatch.setattr("projections.replay.events.parts.PART_EVENTS", 1)
    monkeypatch.setattr("projections.replay.events.history_walk.READ_AT_ONCE", 1)
    with closing(cast("Generator[ReplayStep, None, None]", repair(sources, writer))) as steps:
        assert next(steps).last is None
        assert next(steps).last == JobKey("1", "job", "a1")
    writer.applied = []
    run(repair(sources, writer, JobKey("1", "job", "a1")))
    assert writer.applied == ["b:status", "a1"]


@pytest.mark.parametrize("batches", [1, 3], ids=["in one batch", "one by one"])
@pytest.mark.parametrize("backwards", [False, True], ids=["in order", "backwards"])
def test_repair__an_event_that_was_appended_again_later__counts_at_both_its_entries(
    batches: int,
    *,
    backwards: bool,
    redis_client: redis.Redis,
    connect: Connect,
    rows: JobRows,
    cache: StatusCache,
) -> None:
    """The history holds it once, and a replay results in what consumers wrote."""
    again: dict[str, Any] = {"event_id": "e1", "percent": 10, "at": "2026-11-23T00:00:00Z"}
    now = time.time_ns() // 1_000_000  # older documents are not restored
    said = [
        entry("42", f"{now}-1", "progress", **again),
        entry("42", f"{now}-2", "progress", event_id="e2", percent=50),
        entry("42", f"{now}-3", "progress", **again),
    ]
    said = said[::-1] if backwards else said
    size = len(said) // batches
    for at in range(0, len(said), size):
        cache.apply(said[at : at + size])
        rows.apply(said[at : at + size])
    served, stored = statuses(redis_client), table(connect())
    assert f'"entry_id":"{now}-3"'.encode() in b"".join(filter(None, served.values()))

    redis_client.flushall()
    connect().execute("TRUNCATE jobs")
    sources = Sources(redis_client, connect())
    sources.read_streams()
    run(repair(sources, StatusRepair(cache, ServedDocuments(redis_client))))
    writer = RowsRepair(connect)
    run(repair(sources, writer))

    assert statuses(redis_client) == served
    assert table(connect()) == stored
    count = "SELECT count(*), sum(landings) FROM job_events WHERE event_id = 'e1'"
    assert connect().execute(count).fetchone() == (1, 2)

"""Replays of large events: memory is bounded by bytes, and no event is left out."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import redis

from projections.decoding import Entry, decode
from projections.replay.events import history_walk
from projections.replay.events.sources import Sources
from projections.replay.folded_jobs import batched, fold_jobs
from projections.replay.repair import StatusRepair, repair
from projections.replay.served.documents import ServedDocuments
from projections.replay.served.rows import ServedRows
from projections.replay.verify import Verifier
from projections.rows.writer import JobRows
from projections.status.writer import StatusCache
from sql import sessions
from streams.entry_ids import EntryId
from streams.keys import Keys

KEYS = Keys()
NOW = 4_000_000_000_000
SMALL, HELD = 2_000, 100_000


def done(tenant: str, number: int, size: int, *, event_id: str | None = None) -> Entry:
    """Return the end of a job, with a result of this size in bytes."""
    fields = {"type": "done", "id": f"a{number:04}", "result": {"pad": f"{number}" + "x" * size}}
    raw = json.dumps(fields | ({} if event_id is None else {"event_id": event_id})).encode()
    return decode(tenant, EntryId(NOW + number, 0), [b"event", raw])


@pytest.fixture(autouse=True)
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the limits to about a hundredth of those in production."""
    monkeypatch.setattr(history_walk, "SMALL_BYTES", SMALL)
    modules = (
        "events.portions events.parts events.stream_tail events.stream_pages folded_jobs repair"
    )
    for module in modules.split():
        monkeypatch.setattr(f"projections.replay.{module}.READ_BYTES", HELD)


@pytest.fixture
def sources(redis_client: redis.Redis, database_url: str) -> Iterator[Sources]:
    with sessions.connect(database_url, "test") as connection:
        yield Sources(redis_client, connection)


@pytest.fixture
def rows(database_url: str) -> Iterator[JobRows]:
    """The consumers' writer of rows and history."""
    writer = JobRows(lambda: sessions.connect(database_url, "test"))
    yield writer
    writer.close()


def append(client: redis.Redis, *entries: Entry) -> None:
    for each in entries:
        fields: Any = {"event": each.raw}
        client.xadd(KEYS.stream(each.tenant), fields, id=str(each.entry_id))


SIZES = (10, SMALL - 100, SMALL + 1, 10, HELD + 1, HELD // 2, HELD // 2, 10, SMALL * 2)


def test_walk__events_of_any_size__are_read_as_they_were_appended(
    redis_client: redis.Redis, rows: JobRows, sources: Sources
) -> None:
    held = [done("1", number, size) for number, size in enumerate(SIZES)]
    tail = [done("2", number, size) for number, size in enumerate(SIZES)]
    rows.apply(held)
    append(redis_client, *held, *tail)
    sources.read_streams()
    parts = list(sources.walk())
    assert [entry for part in parts for entry in part.held] == held
    assert [entry for part in parts for entry in part.tail] == tail


def test_walk__large_event_appended_twice__is_read_with_both_entries(
    redis_client: redis.Redis, rows: JobRows, sources: Sources
) -> None:
    """An event that only the stream holds has the stream's bytes, others have the history's."""
    first, second = done("1", 1, SMALL * 2, event_id="e"), done("1", 1, SMALL * 3, event_id="e")
    third = done("1", 1, SMALL * 4, event_id="e")
    appended = [
        each._replace(entry_id=EntryId(NOW + ms, 0))
        for ms, each in enumerate((first, second, third))
    ]
    rows.apply(appended[:2])
    append(redis_client, appended[2])
    sources.read_streams()
    (part,) = sources.walk()
    assert [entry.entry_id for entry in part.held] == [each.entry_id for each in appended[:2]]
    assert part.tail == appended[2:]


def test_large_events__memory__is_bounded_by_bytes(
    redis_client: redis.Redis, rows: JobRows, sources: Sources, database_url: str
) -> None:
    """Both sources, many short jobs and a long one are tested with every reader of all events.

    The second comparison of a job that differs holds all its events; the long job does not differ.
    """
    count, size = 60, HELD // 2
    held = [done("1", number, size) for number in range(count)]
    long = [_of_job(each, "long") for each in held]
    rows.apply(held + long)
    tail = [done("2", number, size) for number in range(count)]
    append(redis_client, *tail, *(each._replace(tenant="3") for each in tail))
    whole = 4 * count * size
    del held, long, tail
    assert peak(sources.read_streams) < whole / 8
    assert peak(lambda: [None for _ in sources.walk()]) < whole / 8
    assert peak(lambda: [None for _ in batched(fold_jobs(sources.walk()))]) < whole / 8
    cache = StatusRepair(StatusCache(redis_client), ServedDocuments(redis_client))
    assert peak(lambda: [None for _ in repair(sources, cache)]) < whole / 8
    with psycopg.connect(database_url) as connection:
        verifier = Verifier(sources, ServedRows(connection), dict.fromkeys)
        assert peak(lambda: [None for _ in verifier.run()]) < whole / 8
    assert verifier.verified == 3 * count + 1


def _of_job(entry: Entry, job: str) -> Entry:
    raw = entry.raw.replace(entry.event.id.encode(), job.encode())
    return decode(entry.tenant, entry.entry_id, [b"event", raw])


def peak(work: Any) -> int:
    """Return the greatest number of bytes that were allocated during some work."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_read_range__entries_of_any_size__each_once(
    redis_client: redis.Redis, sources: Sources
) -> None:
    entries = [done("1", number, size) for number, size in enumerate(SIZES * 10)]
    append(redis_client, *entries)
    sources.read_streams()
    assert [entry for part in sources.walk() for entry in part.tail] == entries

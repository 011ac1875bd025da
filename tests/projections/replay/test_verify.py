"""Verification with real servers: every difference, and no false alarm."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import psycopg
import pytest
import redis

from projections.decoding import Entry, decode
from projections.replay.events.sources import Sources
from projections.replay.served.documents import ServedDocuments
from projections.replay.served.projection import ServedProjection
from projections.replay.served.rows import ServedRows
from projections.replay.verify import Verifier
from projections.rows.writer import JobRows
from projections.status.writer import StatusCache
from sql import sessions
from streams.entry_ids import EntryId
from streams.keys import Keys

Settled = Callable[[Collection[str]], Mapping[str, EntryId | None]]
NOW = 4_000_000_000_000
STREAM = Keys().stream("1")


def entry(offset: int, type_: str, job: str = "a1", **fields: Any) -> Entry:
    raw = json.dumps({"type": type_, "id": job, **fields}).encode()
    return decode("1", EntryId(NOW + offset, 0), [b"event", raw])


def ours() -> list[Entry]:
    return [
        entry(0, "queued", job_type="excel", labels={"class": "3-1"}),
        entry(1, "progress", step="reading", percent=5, extra={"rows": 2**70}),
        entry(2, "done", result={"rows": 3, "ratio": 0.5}),
        entry(3, "processing", "b"),
        entry(4, "failed", "c", kind="video", error="no", code="E"),
    ]


def append(client: redis.Redis, *entries: Entry) -> None:
    for each in entries:
        fields: Any = {"event": each.raw}
        client.xadd(STREAM, fields, id=str(each.entry_id))


@pytest.fixture
def db(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def sources(redis_client: redis.Redis, database_url: str) -> Iterator[Sources]:
    with sessions.connect(database_url, "test") as connection:
        yield Sources(redis_client, connection)


@pytest.fixture
def rows(database_url: str) -> Iterator[JobRows]:
    writer = JobRows(lambda: sessions.connect(database_url, "test"))
    yield writer
    writer.close()


def all_settled(tenants: Collection[str]) -> Mapping[str, EntryId | None]:
    return dict.fromkeys(tenants)


def verify(
    sources: Sources, served: ServedProjection, settled: Settled = all_settled, **options: Any
) -> tuple[int, list[str]]:
    verifier = Verifier(sources, served, settled, **options)
    found = [str(difference) for difference in verifier.run()]
    return verifier.verified, found


def test_verify__both_projections_as_consumers_left_them__nothing_differs(
    redis_client: redis.Redis, rows: JobRows, db: psycopg.Connection, sources: Sources
) -> None:
    append(redis_client, *ours())
    rows.apply(ours())
    StatusCache(redis_client).apply(ours())
    assert verify(sources, ServedRows(db)) == (3, [])
    assert verify(sources, ServedDocuments(redis_client)) == (3, [])


def test_verify__nothing_at_all__nothing_to_verify(
    redis_client: redis.Redis, db: psycopg.Connection, sources: Sources
) -> None:
    assert verify(sources, ServedRows(db)) == (0, [])
    assert verify(sources, ServedDocuments(redis_client)) == (0, [])


def test_verify_rows__a_changed_a_missing_and_a_surplus_row__one_line_a_field(
    rows: JobRows, db: psycopg.Connection, sources: Sources
) -> None:
    rows.apply(ours())
    db.execute("UPDATE jobs SET worker = 'x', result = '{\"rows\": 4}' WHERE id = 'a1'")
    db.execute("UPDATE jobs SET id = 'ghost' WHERE id = 'b'")
    assert verify(sources, ServedRows(db))[1] == [
        '1 job a1 result: served {"rows":4}, folded {"rows":3,"ratio":0.5}',
        "1 job a1 worker: served x, folded null",
        "1 job b status: served nothing, folded PROCESSING",
        "1 job ghost status: served PROCESSING, folded nothing",
    ]


def test_verify_status__a_changed_a_missing_and_a_surplus_document__one_line_a_field(
    redis_client: redis.Redis, rows: JobRows, sources: Sources
) -> None:
    rows.apply(ours())
    cache = StatusCache(redis_client)
    cache.apply([*ours(), entry(9, "queued", "ghost")])
    redis_client.set("tenant:1:job:a1:progress", b'{"percent":7}')
    redis_client.delete("tenant:1:job:b:status")
    redis_client.set("tenant:1:video:c:status", b"[]")
    _, found = verify(sources, ServedDocuments(redis_client))
    assert "1 job a1 progress.percent: served 7, folded 5" in found
    assert "1 job a1 progress.step: served nothing, folded reading" in found
    assert "1 job b status: served nothing, folded PROCESSING" in found
    assert "1 job ghost status: served PENDING, folded nothing" in found
    assert "1 video c status: served [], folded FAILED" in found


def test_verify_status__expired_documents__are_no_difference(
    redis_client: redis.Redis, rows: JobRows, sources: Sources
) -> None:
    rows.apply(ours())
    later = NOW / 1000 + 21_601
    aged = ServedDocuments(redis_client, clock=lambda: later)
    lines = [
        "1 job a1 status: served nothing, folded DONE",
        "1 video c status: served nothing, folded FAILED",
    ]
    assert verify(sources, aged) == (3, lines)


def test_verify_status__expired_and_ended_with_a_ttl__are_no_difference(
    redis_client: redis.Redis, rows: JobRows, sources: Sources
) -> None:
    rows.apply(ours())
    later = NOW / 1000 + 21_601
    aged = ServedDocuments(redis_client, ended_ttl_seconds=60, clock=lambda: later)
    assert verify(sources, aged) == (3, [])


def test_verify__the_consumer_is_behind__is_waited_for(
    redis_client: redis.Redis, rows: JobRows, db: psycopg.Connection, sources: Sources
) -> None:
    """An event that the group has not settled is late, not wrong; the job is compared again."""
    append(redis_client, *ours())
    rows.apply(ours()[:2])
    calls: list[Collection[str]] = []

    def settled(tenants: Collection[str]) -> Mapping[str, EntryId | None]:
        calls.append(tenants)
        if len(calls) == 2:
            rows.apply(ours())
        return {"1": ours()[1].entry_id}

    assert verify(sources, ServedRows(db), settled) == (3, [])
    assert len(calls) == 2


def test_verify__the_consumer_never_settles__is_reported(
    redis_client: redis.Redis, rows: JobRows, db: psycopg.Connection, sources: Sources
) -> None:
    append(redis_client, *ours())
    rows.apply(ours()[:3])
    _, found = verify(
        sources, ServedRows(db), lambda _: {"1": ours()[2].entry_id}, settle_seconds=0
    )
    assert found == [
        "1 job b status: served nothing, folded PROCESSING",
        "1 video c status: served nothing, folded FAILED",
    ]


def test_verify__a_job_with_events_all_the_time__is_right_up_to_what_is_settled(
    redis_client: redis.Redis, rows: JobRows, db: psycopg.Connection, sources: Sources
) -> None:
    """Each comparison finds one event more than was applied; a wrong value is still found."""
    append(redis_client, *ours()[:2])
    rows.apply(ours()[:2])
    coming = iter(range(10, 1_000))

    def settled(_: Collection[str]) -> Mapping[str, EntryId | None]:
        next_one = entry(next(coming), "progress", percent=1)
        append(redis_client, next_one)
        return {"1": EntryId(next_one.entry_id.ms - 1, 0)}

    db.execute("UPDATE jobs SET worker = 'x'")
    _, found = verify(sources, ServedRows(db), settled, settle_seconds=0)
    assert any("worker: served x" in line for line in found)
    rows.apply([each for part in sources.walk() for each in part.tail])
    db.execute("UPDATE jobs SET worker = NULL")
    assert verify(sources, ServedRows(db), settled, settle_seconds=0) == (1, [])


def test_verify__a_job_changes_between_the_two_comparisons__no_false_alarm(
    redis_client: redis.Redis, rows: JobRows, sources: Sources
) -> None:
    """The events of the walk are older than what is served; the second comparison reads both."""
    append(redis_client, *ours()[:2])
    rows.apply(ours()[:2])
    cache = StatusCache(redis_client)
    cache.apply(ours()[:2])
    read = sources.read_streams

    def then_traffic() -> None:
        read()
        append(redis_client, ours()[2])
        cache.apply(ours()[2:3])

    sources.read_streams = then_traffic  # type: ignore[method-assign]
    assert verify(sources, ServedDocuments(redis_client)) == (1, [])


def test_verify__retried_append_whose_second_entry_was_trimmed__no_false_alarm(
    redis_client: redis.Redis, rows: JobRows, db: psycopg.Connection, sources: Sources
) -> None:
    """The history keeps one entry, and the row may name the other one: the facts are the same."""
    facts: dict[str, Any] = {
        "event_id": "own",
        "at": "2026-01-01T00:00:00Z",
        "labels": {"class": "3-1"},
    }
    rows.apply([entry(0, "processing", **facts)])
    rows.apply([entry(5, "processing", **facts)])
    assert verify(sources, ServedRows(db)) == (1, [])
    append(redis_client, entry(5, "processing", **facts))
    assert verify(sources, ServedRows(db)) == (1, [])
    db.execute("UPDATE jobs SET attempt = 2")
    assert "1 job a1 attempt: served 2, folded 1" in verify(sources, ServedRows(db))[1]

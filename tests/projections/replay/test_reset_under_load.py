"""Resets while consumers write and readers poll."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import redis

from projections.decoding import Entry
from projections.replay.events.sources import Sources
from projections.replay.served.documents import ServedDocuments
from projections.replay.served.rows import ServedRows
from projections.rows.writer import JobRows
from projections.status.writer import StatusCache
from streams.entry_ids import EntryId
from streams.keys import JobKey
from tests.support.replays import (
    KEYS,
    Connect,
    append,
    differences,
    entry,
    reset_rows,
    reset_status,
)
from tests.support.waiting import eventually

JOBS = 2_000


EVENTS = 10


@contextmanager
def polling(connection: psycopg.Connection) -> Iterator[list[str]]:
    """Poll all jobs; return a list of errors: a missing job, or an older state."""
    stop, seen, known = threading.Event(), list[str](), dict[str, tuple[int, int]]()
    rounds = 0

    def poll() -> None:
        nonlocal rounds
        while not stop.is_set():
            found = {
                id_: tuple(map(int, entry_id.split("-")))
                for id_, entry_id in connection.execute(
                    "SELECT id, positions->>'entry_id' FROM jobs WHERE tenant <> 'wrong'"
                )
            }
            seen.extend(f"{id_} is gone" for id_ in known.keys() - found.keys())
            seen.extend(
                f"{id_} went back to {found[id_]} from {entry_id}"
                for id_, entry_id in known.items()
                if found.get(id_, entry_id) < entry_id
            )
            known.update(found)
            rounds += 1

    thread = threading.Thread(target=poll)
    thread.start()
    try:
        eventually(lambda: rounds)
        yield seen
        settled = rounds
        eventually(lambda: rounds > settled + 1)
    finally:
        stop.set()
        thread.join()


def progress(tenant: str, job: int, at: int) -> Entry:
    return entry(tenant, f"{1_000 + at}-{job}", "progress", f"j{job}", percent=at)


def test_reset_rows__under_load__no_reader_sees_absence_or_an_older_state(
    rows: JobRows, connect: Connect, sources: Sources
) -> None:
    """There are 20,000 events, a tenth of the rows is wrong, and consumers add events meanwhile."""
    for at in range(EVENTS):
        rows.apply([progress("1", job, at) for job in range(JOBS)])
    rows.apply([entry("wrong", f"1-{job}", "queued", f"w{job}") for job in range(JOBS // 10)])
    db = connect()
    db.execute("UPDATE jobs SET attempt = 9, worker = 'nobody' WHERE tenant = 'wrong'")
    live, stop, sent = JobRows(connect), threading.Event(), [EVENTS]

    def consume() -> None:
        while not stop.is_set():
            live.apply([progress("1", job, sent[0]) for job in range(0, JOBS, 20)])
            sent[0] += 1

    consumer = threading.Thread(target=consume)
    with polling(connect()) as seen:
        consumer.start()
        try:
            eventually(lambda: sent[0] > EVENTS + 1)
            before = sent[0]
            assert reset_rows(sources, ServedRows(sources.connection)) >= JOBS // 10
            eventually(lambda: sent[0] > before + 1)
        finally:
            stop.set()
            consumer.join()
    assert seen == []
    assert differences(sources, ServedRows(db)) == []


def test_reset_status__under_load__no_reader_sees_absence_or_an_older_state(
    redis_client: redis.Redis, rows: JobRows, cache: StatusCache, sources: Sources
) -> None:
    first = 4_000_000_000_000
    names = [KEYS.status(JobKey("1", "job", f"j{job}")) for job in range(200)]

    def batch(at: int) -> list[Entry]:
        return [
            entry("1", f"{first + at}-{job}", "progress", f"j{job}", percent=at % 100)
            for job in range(200)
        ]

    append(redis_client, *batch(0))
    cache.apply(batch(0))
    cache.apply([entry("wrong", f"1-{job}", "queued", f"w{job}") for job in range(200)])
    stop, failures, sent = threading.Event(), list[str](), [0]

    def consume() -> None:
        while not stop.is_set():
            sent[0] += 1
            append(redis_client, *batch(sent[0]))
            cache.apply(batch(sent[0]))

    def poll() -> None:
        known = [EntryId(0, 0)] * len(names)
        while not stop.is_set():
            for at, raw in enumerate(redis_client.mget(names)):
                entry_id = EntryId.parse(
                    json.loads(raw or b'{"fold":{"entry_id":"0"}}')["fold"]["entry_id"]
                )
                if entry_id < known[at]:
                    failures.append(f"{names[at]}: {entry_id} after {known[at]}")
                known[at] = entry_id

    threads = [threading.Thread(target=work) for work in (consume, poll)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            eventually(lambda: sent[0] > 1)
            reset_status(redis_client, sources)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert not redis_client.exists("tenant:wrong:job:w1:status")
    sources.read_on(["1"])
    assert differences(sources, ServedDocuments(redis_client)) == []

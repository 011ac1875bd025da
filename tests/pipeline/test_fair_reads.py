"""A tenant that reads much, and another one that reads at the same time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import psycopg

from projections.decoding import decode
from projections.rows.writer import JobRows
from sql import sessions
from streams.entry_ids import EntryId
from tests.support.event_stream import running_api

EVENTS = 40_000
READERS = 64
LISTS = ("/api/v1/jobs/", "/api/v1/jobs/?status=DONE", "/media/videos/", "/api/v1/jobs/b1/") * 4
TIMEOUT = 60.0


def test_64_readers_of_a_long_history__another_tenant_is_always_answered(
    redis_url: str, database_url: str
) -> None:
    store(database_url)
    stop, begun = threading.Event(), threading.Barrier(READERS + 1)

    def read_on(url: str) -> set[int]:
        """Read the long history again and again, as fast as it is answered."""
        statuses = set()
        with httpx.Client(base_url=url, headers={"x-tenant-id": "1"}, timeout=TIMEOUT) as client:
            begun.wait(TIMEOUT)
            while not stop.is_set():
                statuses.add(client.get("/api/v1/jobs/a1/history/?limit=100").status_code)
        return statuses

    with (
        running_api(redis_url, database_url=database_url) as api,
        httpx.Client(base_url=api.url, headers={"x-tenant-id": "2"}, timeout=TIMEOUT) as client,
        ThreadPoolExecutor(READERS) as readers,
    ):
        reading = [readers.submit(read_on, api.url) for _ in range(READERS)]
        begun.wait(TIMEOUT)
        try:
            answered = [(path, client.get(path).status_code) for path in LISTS]
        finally:
            stop.set()
        statuses = set[int]().union(*(each.result() for each in reading))

    assert answered == [(path, 200) for path in LISTS]
    assert 200 in statuses
    assert statuses <= {200, 503}


def store(database_url: str) -> None:
    """Store a long history of tenant 1, and a job of tenant 2."""
    rows = JobRows(lambda: sessions.connect(database_url, "test"))
    rows.apply(
        [
            decode(tenant, EntryId(1_000, 0), [b"event", b'{"type":"done","id":"%b"}' % job])
            for tenant, job in (("1", b"a1"), ("2", b"b1"))
        ]
    )
    rows.close()
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO job_events (tenant, kind, id, event_id, day, entry_ms, entry_seq, type,"
            " attempt, at, event) SELECT '1', 'job', 'a1', 'event-' || n, '2026-01-05', 2000 + n,"
            """ 0, 'progress', 1, now(), '{"type":"progress","id":"a1","step":"s","percent":1}'"""
            " FROM generate_series(1, %s) AS n",
            (EVENTS,),
        )

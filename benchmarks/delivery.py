"""Delivery: draining the log into each projection."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any, cast

import psycopg
import redis

from benchmarks.measure import Sample, compare
from benchmarks.report import Figure
from benchmarks.servers import Bench
from benchmarks.workload import KEYS, fill, lives, tenants
from consumers.__main__ import build
from consumers.runner import BATCH, QUANTUM, Consumer
from projections.decoding import decode
from projections.history import COLUMNS, EventRow, event_row
from streams.entry_ids import of_reply

ROUNDS = 3
EVENTS_A_JOB = 10
NAMES = tenants(10)

_IDLE_TURNS = 20
_COPY = "COPY bare_events FROM STDIN (FORMAT BINARY)"
_BARE = """
CREATE TABLE IF NOT EXISTS bare_events (
    LIKE job_events, PRIMARY KEY (tenant, kind, id, event_id, day)
)
"""


def status(bench: Bench) -> list[Figure]:
    """Project into Redis; limit: reading and acknowledging the same entries."""
    consumer = build("status", bench.settings(), bench.client, "bench")
    count = _fill(bench, 200)
    drain(consumer, count)

    def product() -> Sample:
        bench.empty()
        fill(bench.client, lives(NAMES, jobs))
        return bench.measured(count, lambda: drain(consumer, count))

    def limit() -> Sample:
        for name in NAMES:
            bench.client.xgroup_create(KEYS.stream(name), "raw", "0")
        return bench.measured(count, lambda: _read_all(bench.client, count))

    jobs = bench.scaled(800, least=40)
    count = jobs * EVENTS_A_JOB * len(NAMES)
    return [
        Figure(
            "project status, events / read and acknowledge",
            aim=0.45,
            key="status",
            **compare(ROUNDS, product, limit).fields(),
            details={
                "limit": "redis-py XREADGROUP COUNT 1000 + XACK, the same streams",
                "events": count,
            },
        )
    ]


def rows(bench: Bench) -> list[Figure]:
    """Project into PostgreSQL with the history; limit: COPY of the same events' rows."""
    consumer = build("rows", bench.settings(), bench.client, "bench")
    drain(consumer, _fill(bench, 200))
    with psycopg.connect(bench.postgres.url, autocommit=True) as connection:
        connection.execute(_BARE)

        def product() -> Sample:
            bench.empty()
            connection.execute("TRUNCATE jobs, job_events")
            fill(bench.client, lives(NAMES, jobs))
            return bench.measured(count, lambda: drain(consumer, count))

        def limit() -> Sample:
            connection.execute("TRUNCATE bare_events")
            batches = list(_batches(bench.client, NAMES))
            return bench.measured(count, lambda: _copy(connection, batches))

        jobs = bench.scaled(400, least=40)
        count = jobs * EVENTS_A_JOB * len(NAMES)
        found = compare(ROUNDS, product, limit)
    return [
        Figure(
            "project rows and history, events / bare COPY",
            key="rows_copy",
            **found.fields(),
            details={
                "limit": "psycopg binary COPY of ready rows, the same primary key and batches",
                "events": count,
                "batch": BATCH,
            },
        )
    ]


def drain(consumer: Consumer, count: int) -> None:
    """Let the consumer work until so many entries are settled.

    Raises:
        RuntimeError: it finds no more to do before.
    """
    stop, settled, idle = threading.Event(), 0, 0
    while settled < count:
        done = consumer.turn(stop)
        settled += done
        idle = 0 if done else idle + 1
        if idle > _IDLE_TURNS:
            raise RuntimeError(f"settled {settled} of {count} entries, and finds no more")


def _fill(bench: Bench, jobs: int) -> int:
    bench.empty()
    return fill(bench.client, lives(NAMES, jobs))


def _read_all(client: redis.Redis, count: int) -> None:
    """Read and acknowledge all, one stream at a time in turn."""
    streams = [KEYS.stream(name) for name in NAMES]
    while count:
        for stream in streams:
            reply = cast("Any", client.xreadgroup("raw", "bench", {stream: ">"}, count=1_000))
            for name, entries in reply:
                client.xack(name, "raw", *[entry_id for entry_id, _ in entries])
                count -= len(entries)


def _batches(client: redis.Redis, names: Sequence[str]) -> Iterator[list[EventRow]]:
    """Give the rows of the history, in the batches that a consumer gets to see."""
    quantum = max(1, min(QUANTUM, BATCH // len(names)))
    waiting = {name: _rows(client, name) for name in names}
    while any(waiting.values()):
        yield [row for name in names for row in waiting[name][:quantum]]
        waiting = {name: rows[quantum:] for name, rows in waiting.items()}


def _rows(client: redis.Redis, tenant: str) -> list[EventRow]:
    entries = cast("Any", client.xrange(KEYS.stream(tenant)))
    return [
        event_row(decode(tenant, of_reply(entry_id), [b"event", fields[b"event"]]))
        for entry_id, fields in entries
    ]


def _copy(connection: psycopg.Connection, batches: Sequence[Sequence[EventRow]]) -> None:
    for batch in batches:
        with (
            connection.transaction(),
            connection.cursor() as cursor,
            cursor.copy(_COPY) as copy,
        ):
            copy.set_types(COLUMNS)
            for row in batch:
                copy.write_row(row)

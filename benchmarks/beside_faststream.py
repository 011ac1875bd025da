"""FastStream beside the consumers: batches, validated events, the least that keeps a projection.

It does what its user writes first: each event is validated and written as it stands, a batch by one
pipeline or one upsert of many. No fold, no guard against an older state, no history.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Literal

import orjson
import psycopg
import redis.asyncio
from faststream.redis import RedisBroker, StreamSub
from pydantic import BaseModel

from benchmarks.delivery import EVENTS_A_JOB, NAMES, drain
from benchmarks.measure import alternate, seconds
from benchmarks.report import Figure
from benchmarks.servers import Bench
from benchmarks.workload import CHUNK, fill, lives
from consumers.__main__ import build
from streams.wire import checked, round_trip

ROUNDS = 3
BATCH = 1_000
AIM = 4.0
SECONDS = 60.0
"""What it cannot handle it goes on without: then it never comes to the end."""

_GROUP, _FIELD = "faststream", "__data__"
_TTL_SECONDS = 21_600
_TABLE = """
CREATE TABLE IF NOT EXISTS faststream_jobs (
    tenant text, kind text, id text, attempt bigint, state text, document jsonb,
    PRIMARY KEY (tenant, kind, id)
)
"""
_UPSERT = """
INSERT INTO faststream_jobs VALUES (%s, %s, %s, %s, %s, %s)
ON CONFLICT (tenant, kind, id)
DO UPDATE SET attempt = excluded.attempt, state = excluded.state, document = excluded.document
"""


class Event(BaseModel):
    """What the events of this benchmark hold."""

    type: Literal["queued", "processing", "progress", "done", "failed", "cancelled"]
    kind: str = "job"
    id: str
    attempt: int = 1
    event_id: str | None = None
    at: datetime | None = None
    job_type: str | None = None
    labels: dict[str, str] | None = None
    worker: str | None = None
    step: str | None = None
    percent: float | None = None
    step_index: int | None = None
    step_total: int | None = None
    result: dict[str, Any] | None = None


_LOG = logging.getLogger(__name__)
_LOG.setLevel(logging.CRITICAL)  # to it, being stopped amid a read is an error worth a traceback

Write = Callable[[str, Sequence[Event]], Awaitable[None]]
"""Stores a tenant's events."""


def faststream(bench: Bench) -> list[Figure]:
    """Project into Redis and into PostgreSQL, either way."""
    return [_status(bench), _rows(bench)]


def _status(bench: Bench) -> Figure:
    consumer = build("status", bench.settings(), bench.client, "bench")

    async def theirs(count: int) -> float:
        async with redis.asyncio.Redis.from_url(bench.redis.url) as client:

            async def write(tenant: str, events: Sequence[Event]) -> None:
                async with client.pipeline(transaction=False) as pipeline:
                    for event in events:
                        key = f"faststream:{tenant}:{event.kind}:{event.id}:status"
                        pipeline.set(key, _document(event), ex=_TTL_SECONDS)
                    await pipeline.execute()

            return await _consume(bench, count, write)

    jobs = bench.scaled(800, least=40)
    return _compared(bench, "status", jobs, lambda count: drain(consumer, count), theirs)


def _rows(bench: Bench) -> Figure:
    consumer = build("rows", bench.settings(), bench.client, "bench")
    with psycopg.connect(bench.postgres.url, autocommit=True) as connection:
        connection.execute(_TABLE)

        def ours(count: int) -> None:
            drain(consumer, count)

        async def theirs(count: int) -> float:
            url = bench.postgres.url
            turn = asyncio.Lock()  # its subscribers work side by side
            async with await psycopg.AsyncConnection.connect(url, autocommit=True) as writer:

                async def write(tenant: str, events: Sequence[Event]) -> None:
                    async with turn, writer.transaction(), writer.cursor() as cursor:
                        await cursor.executemany(_UPSERT, [_row(tenant, each) for each in events])

                return await _consume(bench, count, write)

        def empty() -> None:
            connection.execute("TRUNCATE jobs, job_events, faststream_jobs")

        jobs = bench.scaled(400, least=40)
        return _compared(bench, "rows and history", jobs, ours, theirs, empty=empty)


def _compared(
    bench: Bench,
    what: str,
    jobs: int,
    ours: Callable[[int], None],
    theirs: Callable[[int], Coroutine[Any, Any, float]],
    *,
    empty: Callable[[], None] = lambda: None,
) -> Figure:
    count = jobs * EVENTS_A_JOB * len(NAMES)

    def product() -> float:
        bench.empty()
        empty()
        fill(bench.client, lives(NAMES, jobs))
        return count / seconds(lambda: ours(count))

    def limit() -> float:
        bench.empty()
        _fill(bench, jobs)
        return count / asyncio.run(theirs(count))

    pair = alternate(ROUNDS, product, limit)
    return Figure(
        f"project {what}, events / FastStream in batches",
        pair.ratio,
        AIM,
        at_least=True,
        product=f"{pair.product:,.0f} /s",
        limit=f"{pair.limit:,.0f} /s",
        details={
            "limit": f"FastStream, batches of {BATCH}, every event written as it stands",
            "events": count,
            "rounds": pair.rounds,
        },
    )


def _fill(bench: Bench, jobs: int) -> None:
    """Append the same events as FastStream likes them, with its groups at the beginning."""
    remaining = lives(NAMES, jobs)
    while chunk := list(islice(remaining, CHUNK)):
        commands = [("XADD", _stream(name), "*", _FIELD, raw) for name, raw in chunk]
        checked(round_trip(bench.client, commands))
    for name in NAMES:
        bench.client.xgroup_create(_stream(name), _GROUP, "0")


async def _consume(bench: Bench, count: int, write: Write) -> float:
    """Run a broker until it has had so many events; give the seconds since the first came in."""
    broker = RedisBroker(bench.redis.url, logger=_LOG, log_level=logging.DEBUG)
    done, left, began = asyncio.Event(), count, 0.0

    def subscribe(tenant: str) -> None:
        stream = StreamSub(
            _stream(tenant), group=_GROUP, consumer="bench", batch=True, max_records=BATCH
        )

        @broker.subscriber(stream=stream)
        async def handle(events: list[Event]) -> None:
            nonlocal left, began
            began = began or time.perf_counter()
            await write(tenant, events)
            left -= len(events)
            if left <= 0:
                done.set()

    for name in NAMES:
        subscribe(name)
    await broker.start()
    try:
        async with asyncio.timeout(SECONDS):
            await done.wait()
        return time.perf_counter() - began
    finally:
        await broker.stop()


def _stream(tenant: str) -> str:
    return f"faststream:{tenant}:events"


def _document(event: Event) -> bytes:
    return orjson.dumps(event.model_dump(exclude_none=True))


def _row(tenant: str, event: Event) -> tuple[object, ...]:
    document = _document(event).decode()
    return tenant, event.kind, event.id, event.attempt, event.type, document

"""FastStream and the consumers: batches of validated events, with the simplest projection.

FastStream's subscriber does what a first version does: each event is validated and written
unchanged, a batch by one pipeline or one upsert. It has no fold, and an older state may replace a
newer one. Rows are compared twice: with the upsert alone, and with the upsert and the same history
rows in the same transaction.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import (
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Literal, LiteralString, NamedTuple

import orjson
import psycopg
import redis.asyncio
from faststream.redis import RedisBroker, StreamSub
from faststream.redis.annotations import RedisBatchStreamMessage
from pydantic import BaseModel

from benchmarks.delivery import EVENTS_A_JOB, NAMES, drain
from benchmarks.measure import Cpu, Sample, compare
from benchmarks.report import Figure
from benchmarks.servers import Bench
from benchmarks.workload import CHUNK, fill, lives
from consumers.composition import build
from consumers.loop.runner import Consumer
from streams.wire import checked, round_trip

ROUNDS = 3
BATCH = 1_000
SECONDS = 60.0
"""The time limit of a round. FastStream goes on after errors, without the events."""

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
_HISTORY = """
INSERT INTO job_events (
    tenant, kind, id, event_id, day, entry_ms, entry_seq, type, attempt, at, event
) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT DO NOTHING
"""
"""An event is delivered again after a crash; a row that exists is not changed."""


class Event(BaseModel):
    """The fields of the events of this benchmark."""

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
_LOG.setLevel(logging.CRITICAL)  # it logs a traceback when it is stopped during a read


class Batch(NamedTuple):
    """Events that a subscriber receives together."""

    events: Sequence[Event]
    raw: Any
    """The message as the broker read it, with the ids and bytes of the entries."""


Write = Callable[[str, Batch], Awaitable[None]]
"""Subscriber that stores a tenant's events."""


def faststream(bench: Bench) -> list[Figure]:
    """Project into Redis and into PostgreSQL, with both programs."""
    with psycopg.connect(bench.postgres.url, autocommit=True) as connection:
        connection.execute(_TABLE)
    return [
        _status(bench),
        _rows(bench, "rows beside an upsert without history", 2.0, "faststream_rows", [_UPSERT]),
        _rows(
            bench, "rows beside the same history", 4.0, "faststream_history", [_UPSERT, _HISTORY]
        ),
    ]


def _status(bench: Bench) -> Figure:
    async def theirs(count: int) -> Sample:
        async with redis.asyncio.Redis.from_url(bench.redis.url) as client:

            async def write(tenant: str, batch: Batch) -> None:
                async with client.pipeline(transaction=False) as pipeline:
                    for event in batch.events:
                        key = f"faststream:{tenant}:{event.kind}:{event.id}:status"
                        pipeline.set(key, _document(event), ex=_TTL_SECONDS)
                    await pipeline.execute()

            return await _consume(bench, count, write)

    consumer = build("status", bench.settings(), bench.client, "bench")
    jobs = bench.scaled(800, least=40)
    return Figure(
        "project status, events / FastStream in batches",
        aim=4.5,
        key="faststream_status",
        **_compared(bench, consumer, jobs, theirs),
    )


def _rows(
    bench: Bench, what: str, aim: float, key: str, statements: Sequence[LiteralString]
) -> Figure:
    async def theirs(count: int) -> Sample:
        turn = asyncio.Lock()  # its subscribers run concurrently
        url = bench.postgres.url
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as writer:

            async def write(tenant: str, batch: Batch) -> None:
                async with turn, writer.transaction(), writer.cursor() as cursor:
                    for statement in statements:
                        await cursor.executemany(statement, _ROWS[statement](tenant, batch))

            return await _consume(bench, count, write)

    def empty() -> None:
        with psycopg.connect(bench.postgres.url, autocommit=True) as connection:
            connection.execute("TRUNCATE jobs, job_events, faststream_jobs")

    consumer = build("rows", bench.settings(), bench.client, "bench")
    jobs = bench.scaled(400, least=40)
    return Figure(
        f"project {what}, events / FastStream in batches",
        aim=aim,
        key=key,
        **_compared(bench, consumer, jobs, theirs, empty=empty),
    )


def _compared(
    bench: Bench,
    consumer: Consumer,
    jobs: int,
    theirs: Callable[[int], Coroutine[Any, Any, Sample]],
    *,
    empty: Callable[[], None] = lambda: None,
) -> Mapping[str, Any]:
    count = jobs * EVENTS_A_JOB * len(NAMES)

    def product() -> Sample:
        bench.empty()
        empty()
        fill(bench.client, lives(NAMES, jobs))
        return bench.measured(count, lambda: drain(consumer, count))

    def limit() -> Sample:
        bench.empty()
        empty()
        _fill(bench, jobs)
        return asyncio.run(theirs(count))

    return {
        **compare(bench.rounds(ROUNDS), product, limit).fields(),
        "details": {
            "limit": f"FastStream, batches of {BATCH}, every event written as it stands",
            "events": count,
        },
    }


def _fill(bench: Bench, jobs: int) -> None:
    """Append the same events in FastStream's format, with its groups at the beginning."""
    remaining = lives(NAMES, jobs)
    while chunk := list(islice(remaining, CHUNK)):
        commands = [("XADD", _stream(name), "*", _FIELD, raw) for name, raw in chunk]
        checked(round_trip(bench.client, commands))
    for name in NAMES:
        bench.client.xgroup_create(_stream(name), _GROUP, "0")


async def _consume(bench: Bench, count: int, write: Write) -> Sample:
    """Run a broker until it has received `count` events; measure from the first one on."""
    broker = RedisBroker(bench.redis.url, logger=_LOG, log_level=logging.DEBUG)
    done, left = asyncio.Event(), count
    began: tuple[float, Cpu] | None = None

    def subscribe(tenant: str) -> None:
        stream = StreamSub(
            _stream(tenant), group=_GROUP, consumer="bench", batch=True, max_records=BATCH
        )

        @broker.subscriber(stream=stream)
        async def handle(events: list[Event], message: RedisBatchStreamMessage) -> None:
            nonlocal left, began
            began = began or (time.perf_counter(), bench.spent())
            await write(tenant, Batch(events, message.raw_message))
            left -= len(events)
            if left <= 0:
                done.set()

    for name in NAMES:
        subscribe(name)
    await broker.start()
    try:
        async with asyncio.timeout(SECONDS):
            await done.wait()
        if began is None:
            raise RuntimeError("FastStream handled no event")
        started, before = began
        elapsed = time.perf_counter() - started
        return Sample(count / elapsed, bench.spent().since(before).each(count))
    finally:
        await broker.stop()


def _stream(tenant: str) -> str:
    return f"faststream:{tenant}:events"


def _document(event: Event) -> bytes:
    return orjson.dumps(event.model_dump(exclude_none=True))


def _job_rows(tenant: str, batch: Batch) -> list[tuple[object, ...]]:
    return [
        (tenant, event.kind, event.id, event.attempt, event.type, _document(event).decode())
        for event in batch.events
    ]


def _history_rows(tenant: str, batch: Batch) -> Iterator[tuple[object, ...]]:
    """Return the rows that the product's projection stores for these events."""
    entries = zip(batch.raw["message_ids"], batch.raw["data"], batch.events, strict=True)
    for entry_id, fields, event in entries:
        ms, _, seq = entry_id.decode().partition("-")
        at = event.at or datetime.fromtimestamp(int(ms) / 1000, UTC)
        yield (
            tenant, event.kind, event.id, event.event_id, at.date(), int(ms), int(seq),
            event.type, event.attempt, at, fields[_FIELD.encode()].decode(),
        )  # fmt: skip


_ROWS: Mapping[str, Callable[[str, Batch], Iterable[tuple[object, ...]]]] = {
    _UPSERT: _job_rows,
    _HISTORY: _history_rows,
}

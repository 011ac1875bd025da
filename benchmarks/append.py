"""Appending: one event a call, and many."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import islice

import redis

from benchmarks.measure import alternate, seconds
from benchmarks.report import Figure
from benchmarks.servers import Bench
from benchmarks.workload import CHUNK, KEYS, Payload, job_id, lives, tenants
from streams.appender import FIELD, EventAppender, payload_of
from streams.event_ids import new_event_id
from streams.events import Event, Progress, parse_event


def append_one(bench: Bench) -> list[Figure]:
    """Append a progress event, made and validated in the measured time; limit: a bare XADD."""
    bench.empty()
    count = bench.scaled(2_000, least=200)
    appender, stream = EventAppender(bench.client), KEYS.stream("t0")
    raw = payload_of(_progress(0))

    def product() -> float:
        return seconds(lambda: [appender.append("t0", _progress(job)) for job in range(count)])

    def limit() -> float:
        return seconds(lambda: [bench.client.xadd(stream, {FIELD: raw}) for _ in range(count)])

    pair = alternate(7, product, limit)
    return [
        Figure(
            "append one, time / bare XADD",
            pair.ratio,
            1.3,
            product=f"{pair.product / count * 1e6:.0f} µs",
            limit=f"{pair.limit / count * 1e6:.0f} µs",
            details={"limit": "bare redis-py XADD", "appends": count, "rounds": pair.rounds},
        )
    ]


def append_many(bench: Bench) -> list[Figure]:
    """Append events that were made before; limit: pipelined XADD of the same bytes."""
    count = bench.scaled(40_000, least=4_000)
    appends = list(islice(lives(tenants(10), count // 100), count))
    events: list[tuple[str, Event]] = [(tenant, parse_event(raw)) for tenant, raw in appends]
    same = [(tenant, payload_of(event)) for tenant, event in events]
    appender = EventAppender(bench.client)

    def product() -> float:
        bench.empty()
        return count / seconds(lambda: appender.append_many(events))

    def limit() -> float:
        bench.empty()
        return count / seconds(lambda: _pipelined(bench.client, same))

    count = len(events)
    pair = alternate(5, product, limit)
    return [
        Figure(
            "append many, events / pipelined XADD",
            pair.ratio,
            0.7,
            at_least=True,
            product=f"{pair.product:,.0f} /s",
            limit=f"{pair.limit:,.0f} /s",
            details={
                "input": "pydantic events made before",
                "limit": f"redis-py XADD of the same bytes, {CHUNK} a pipeline",
                "events": count,
                "bytes": sum(len(raw) for _, raw in same) // count,
                "rounds": pair.rounds,
            },
        )
    ]


def _progress(job: int) -> Progress:
    """Make an event as the SDK does."""
    return Progress(
        id=job_id(job),
        event_id=new_event_id(),
        at=datetime.now(UTC),
        worker="worker-1",
        step="sheet-4",
        percent=40,
        step_index=4,
        step_total=9,
    )


def _pipelined(client: redis.Redis, appends: Sequence[Payload]) -> None:
    for at in range(0, len(appends), CHUNK):
        pipeline = client.pipeline(transaction=False)
        for tenant, raw in appends[at : at + CHUNK]:
            pipeline.xadd(KEYS.stream(tenant), {FIELD: raw})
        pipeline.execute()

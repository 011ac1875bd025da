"""Appending: one event in a call, and many."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import redis

from benchmarks.measure import Sample, compare
from benchmarks.report import Figure
from benchmarks.servers import Bench
from benchmarks.workload import CHUNK, KEYS, Payload, lives, progress_event, tenants
from streams.append_plan import FIELD
from streams.appender import EventAppender
from streams.events import Event, parse_event
from streams.payloads import payload_of


def append_one(bench: Bench) -> list[Figure]:
    """Append a progress event, which is built and validated each time; limit: XADD alone."""
    bench.empty()
    count = bench.scaled(2_000, least=200)
    appender, stream = EventAppender(bench.client), KEYS.stream("t0")
    raw = payload_of(progress_event(0))

    def product() -> Sample:
        return bench.measured(
            count, lambda: [appender.append("t0", progress_event(job)) for job in range(count)]
        )

    def limit() -> Sample:
        return bench.measured(
            count, lambda: [bench.client.xadd(stream, {FIELD: raw}) for _ in range(count)]
        )

    return [
        Figure(
            "append one, time / bare XADD",
            aim=1.25,
            key="append_one",
            **compare(bench.rounds(7), product, limit).time_fields(),
            details={"limit": "bare redis-py XADD", "appends": count},
        )
    ]


def append_many(bench: Bench) -> list[Figure]:
    """Append events that were built before; limit: pipelined XADD of the same bytes."""
    count = bench.scaled(40_000, least=4_000)
    appends = list(islice(lives(tenants(10), count // 100), count))
    events: list[tuple[str, Event]] = [(tenant, parse_event(raw)) for tenant, raw in appends]
    same = [(tenant, payload_of(event)) for tenant, event in events]
    appender = EventAppender(bench.client)

    def product() -> Sample:
        bench.empty()
        return bench.measured(count, lambda: appender.append_many(events))

    def limit() -> Sample:
        bench.empty()
        return bench.measured(count, lambda: _pipelined(bench.client, same))

    count = len(events)
    return [
        Figure(
            "append many, events / pipelined XADD",
            aim=0.75,
            key="append_many",
            **compare(bench.rounds(5), product, limit).fields(),
            details={
                "input": "pydantic events made before",
                "limit": f"redis-py XADD of the same bytes, {CHUNK} a pipeline",
                "events": count,
                "bytes": sum(len(raw) for _, raw in same) // count,
            },
        )
    ]


def _pipelined(client: redis.Redis, appends: Sequence[Payload]) -> None:
    for at in range(0, len(appends), CHUNK):
        pipeline = client.pipeline(transaction=False)
        for tenant, raw in appends[at : at + CHUNK]:
            pipeline.xadd(KEYS.stream(tenant), {FIELD: raw})
        pipeline.execute()

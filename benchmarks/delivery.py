"""Delivery: draining the streams into each projection."""

from __future__ import annotations

import threading
from typing import Any, cast

import redis

from benchmarks.measure import Sample, compare
from benchmarks.report import Figure
from benchmarks.servers import Bench
from benchmarks.workload import KEYS, fill, lives, tenants
from consumers.composition import build
from consumers.loop.runner import Consumer

ROUNDS = 3
EVENTS_A_JOB = 10
NAMES = tenants(10)

_IDLE_TURNS = 20


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
            **compare(bench.rounds(ROUNDS), product, limit).fields(),
            details={
                "limit": "redis-py XREADGROUP COUNT 1000 + XACK, the same streams",
                "events": count,
            },
        )
    ]


def drain(consumer: Consumer, count: int) -> None:
    """Run the consumer until `count` entries are settled.

    Raises:
        RuntimeError: it finds no further entries before.
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
    """Read and acknowledge all entries, one stream after the other."""
    streams = [KEYS.stream(name) for name in NAMES]
    while count:
        for stream in streams:
            reply = cast("Any", client.xreadgroup("raw", "bench", {stream: ">"}, count=1_000))
            for name, entries in reply:
                client.xack(name, "raw", *[entry_id for entry_id, _ in entries])
                count -= len(entries)

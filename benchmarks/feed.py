"""Viewers: live streams and long polls of one API process, while jobs change all the time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from benchmarks.delivery import NAMES
from benchmarks.load import generator
from benchmarks.measure import CpuMeter, quantile, resident_bytes
from benchmarks.reading import api, port_of
from benchmarks.report import Figure
from benchmarks.servers import Bench, wait_until
from benchmarks.viewers import READY, Crowd, Seen, watch
from benchmarks.waiting import wait_until_drained
from streams.appender import EventAppender

RATE = 200
"""Changes of state a second."""
CHANGES = 4
"""Events of each job while it has viewers: three of progress, and its end."""
STREAMS, WAITS, TENANT_STREAMS = 1_000, 2_000, 10
"""Live streams, long polls, and how many of the streams are of all jobs of a tenant."""
IDLE_SECONDS = 3.0
CONNECT_SECONDS = 60.0


def feed(bench: Bench) -> list[Figure]:
    """Serve 3,000 viewers (fewer at a smaller scale) for about 20 s."""
    bench.empty()
    jobs = bench.scaled(1_000, least=len(NAMES))
    crowd = Crowd(
        tenants=NAMES,
        jobs=[job_id(number) for number in range(jobs // len(NAMES))],
        streams=bench.scaled(STREAMS, least=150) - TENANT_STREAMS * len(NAMES),
        waits=bench.scaled(WAITS, least=100),
        tenant_streams=TENANT_STREAMS,
    )
    with ExitStack() as stack:
        stack.enter_context(bench.jobtrail("consume", "status")).wait_for_output("consumer_started")
        server = stack.enter_context(api(bench))
        pool = stack.enter_context(generator())
        appender = EventAppender(bench.client)
        appender.append_many(
            (tenant, {"type": "queued", "id": job}) for tenant, job in crowd.all_jobs()
        )
        wait_until_drained(bench.client, "status", NAMES, 30)
        watching = pool.submit(watch, port_of(server), bench.redis.url, crowd)
        wait_until(
            lambda: bool(bench.client.exists(READY)) or watching.done(),
            "all viewers were there",
            CONNECT_SECONDS,
        )
        idle = CpuMeter(server.pid)
        time.sleep(IDLE_SECONDS)
        idle_share, busy = idle.share(), CpuMeter(server.pid)
        held = [resident_bytes(server.pid)]
        rate = _change(appender, crowd, lambda: held.append(resident_bytes(server.pid)))
        busy_share = busy.share()
        seen = watching.result()
    return _figures(crowd, seen, _Cost(idle_share, busy_share, held), rate)


def job_id(number: int) -> str:
    """Return the key of a job."""
    return f"import-{number:05}"


def _change(appender: EventAppender, crowd: Crowd, on_step: Callable[[], None]) -> float:
    """Append `RATE` changes a second until all jobs have ended; return the actual rate."""
    began, count, jobs = time.perf_counter(), 0, len(crowd.all_jobs())
    for tenant, event in _changes(crowd):
        early = began + count / RATE - time.perf_counter()
        if early > 0:
            time.sleep(early)
        stamp = {"appended": time.time()}
        field = "result" if event["type"] == "done" else "extra"
        appender.append(tenant, {**event, field: stamp})
        count += 1
        if count % jobs == 0:
            on_step()
    return count / (time.perf_counter() - began)


def _changes(crowd: Crowd) -> Iterator[tuple[str, dict[str, object]]]:
    for step in range(CHANGES):
        for tenant, job in crowd.all_jobs():
            if step == CHANGES - 1:
                yield tenant, {"type": "done", "id": job}
            else:
                yield tenant, {"type": "progress", "id": job, "percent": 30 * step}


class _Cost(NamedTuple):
    """The resources of the API: shares of one core, and bytes."""

    idle: float
    busy: float
    held: Sequence[int]
    """Values before the changes, and after each step of all jobs."""


def _figures(crowd: Crowd, seen: Seen, cost: _Cost, rate: float) -> list[Figure]:
    name = f"{crowd.all_streams:,} streams, {crowd.waits:,} long polls"
    details = {
        "changes_per_second": rate,
        "received_per_second": len(seen.all_latencies()) * rate / (CHANGES * len(crowd.all_jobs())),
        "viewers_cpu": seen.cpu_share,
        "p99_ms": {how: quantile(each, 0.99) * 1e3 for how, each in seen.latencies.items()},
        "resident_bytes": cost.held,
    }
    latencies, first, last = seen.all_latencies(), cost.held[1], cost.held[-1]
    return [
        Figure(
            f"{name}: ends missed of {seen.ends_expected:,}",
            seen.ends_expected - seen.ends_seen,
            0,
            unit="ends",
            timed=False,
            details=details,
        ),
        Figure(f"{name}: append to received, p50", quantile(latencies, 0.5) * 1e3, 20, unit="ms"),
        Figure(f"{name}: append to received, p99", quantile(latencies, 0.99) * 1e3, 100, unit="ms"),
        Figure(f"{name}: API's CPU while nothing changes", 100 * cost.idle, 5, unit="%"),
        Figure(f"{name}: API's CPU at {rate:.0f} changes/s", 100 * cost.busy, 80, unit="%"),
        Figure(
            f"{name}: API's memory after the last change of each / the first",
            last / first,
            1.1,
            product=f"{last / 2**20:.0f} MiB",
            limit=f"{first / 2**20:.0f} MiB",
        ),
    ]

"""One tenant with a great backlog, and many tenants with an event now and then."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import islice

from benchmarks.measure import quantile
from benchmarks.report import Figure
from benchmarks.servers import Bench
from benchmarks.workload import KEYS, fill, lives, progress_event, tenants
from consumers.delivery.group_states import group_states
from streams.appender import EventAppender
from streams.connection import connect
from streams.keys import JobKey
from streams.wire import ask

GREAT = "great"
SMALL_TENANTS = 1_000
BACKLOG = 1_000_000
PROBE_EVERY, LOOK_EVERY = 0.01, 0.0005
LOST_SECONDS = 30.0


def fairness(bench: Bench) -> list[Figure]:
    """Compare the p99 from append to readable of small tenants beside a backlog and without it."""
    names = tenants(max(20, min(SMALL_TENANTS, bench.scaled(SMALL_TENANTS))))
    backlog, seconds = bench.scaled(BACKLOG, least=2_000), max(1.0, 15 * bench.scale)
    bench.empty()
    with (
        bench.jobtrail("consume", "status") as consumer,
        ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool,
    ):
        consumer.wait_for_output("consumer_started")
        probe = _Probe(bench, names)
        for _ in names[:20]:
            probe.measure()
        alone = probe.sample(pool.submit(append_slowly, bench.redis.url, names, seconds))
        os.kill(consumer.pid, signal.SIGSTOP)  # else it would drain the backlog meanwhile
        try:
            fill(bench.client, islice(lives([GREAT], backlog // 10 + 1), backlog))
        finally:
            os.kill(consumer.pid, signal.SIGCONT)
        begun = _waiting(bench)
        beside = probe.sample(pool.submit(append_slowly, bench.redis.url, names, seconds), bench)
    p99, limit = quantile(beside, 0.99), quantile(alone, 0.99)
    return [
        Figure(
            f"append to readable, p99 beside {backlog:,} events of one tenant / without",
            p99 / limit,
            3.0,
            key="fairness",
            product=f"{p99 * 1e3:.1f} ms",
            limit=f"{limit * 1e3:.1f} ms",
            details={
                "tenants": len(names),
                "waiting_at_first": begun,
                "waiting_at_last": _waiting(bench),
                "samples": [len(alone), len(beside)],
                "p50_ms": [1e3 * quantile(part, 0.5) for part in (alone, beside)],
            },
        )
    ]


def append_slowly(redis_url: str, names: list[str], seconds: float) -> int:
    """Append one event a second for each tenant; return how many."""
    began, count = time.perf_counter(), 0
    with connect(redis_url) as client:
        appender = EventAppender(client)
        while (spent := time.perf_counter() - began) < seconds:
            if count < spent * len(names):
                appender.append(names[count % len(names)], progress_event(count))
                count += 1
            else:
                time.sleep(0.001)
    return count


def _waiting(bench: Bench) -> int:
    """Return the number of entries of the great tenant that were not delivered."""
    (states,) = group_states(bench.client, [KEYS.stream(GREAT).encode()])
    lag = next((state.lag for state in states if state.name == "status"), None)
    return int(ask(bench.client, "XLEN", KEYS.stream(GREAT))) if lag is None else lag


class _Probe:
    """Measures the time until the document of a small tenant's job has an event."""

    def __init__(self, bench: Bench, names: list[str]) -> None:
        self._client = bench.client
        self._appender = EventAppender(bench.client)
        self._names = names
        self._count = 0

    def sample(self, load: Future[int], bench: Bench | None = None) -> list[float]:
        """Measure until the load ends, or the backlog of the bench does."""
        latencies = []
        while not load.done():
            latencies.append(self.measure())
            time.sleep(PROBE_EVERY)
            if bench is not None and not len(latencies) % 10 and not _waiting(bench):
                break
        load.result()
        return latencies

    def measure(self) -> float:
        """Append an event; return the seconds until it is readable.

        Raises:
            RuntimeError: it is not in time.
        """
        self._count += 1
        event = progress_event(self._count).model_copy(
            update={"id": "probe", "step": f"step-{self._count}"}
        )
        name = self._names[self._count % len(self._names)]
        _, progress = KEYS.documents(JobKey(name, "job", "probe"))
        sought, began = f'"step-{self._count}"'.encode(), time.perf_counter()
        self._appender.append(name, event)
        while sought not in (ask(self._client, "GET", progress) or b""):
            if time.perf_counter() - began > LOST_SECONDS:
                raise RuntimeError(f"an event was not readable within {LOST_SECONDS:.0f} s")
            time.sleep(LOOK_EVERY)
        return time.perf_counter() - began

"""A cluster of three primaries beside a single server, by CPU time where that is possible."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from statistics import median
from types import TracebackType
from typing import NamedTuple, Self

import redis

from benchmarks.measure import Cpu, Sample, compare, own_cpu_seconds, quantile, tree_cpu_seconds
from benchmarks.report import Figure
from benchmarks.servers import Bench
from benchmarks.workload import progress_event, tenants
from consumers.delivery.ready import ReadyQueue
from streams.appender import EventAppender
from streams.connection import connect
from tests.support.clusters import redis_cluster

AT_ONCE = 1_000
"""Events of one call where the servers are measured and not the worker."""
TAKE_SECONDS = 2.0
LOST_SECONDS = 30.0
PAUSE_SECONDS = 0.002
"""The pause after which a consumer that was woken waits again."""


class _Servers:
    """One deployment of Redis, and the CPU time that it takes beyond that of doing nothing."""

    def __init__(self, url: str, client: redis.Redis, pids: Sequence[int], seconds: float) -> None:
        self.url = url
        self.client = client
        self.appender = EventAppender(client)
        self._pids = pids
        before = self._spent()
        time.sleep(seconds)
        self._idle = [(now - was) / seconds for now, was in zip(self._spent(), before, strict=True)]

    def _spent(self) -> list[float]:
        return list(map(tree_cpu_seconds, self._pids))

    def work(self, work: Callable[[], object]) -> list[float]:
        """Do some work; return the CPU seconds that each server spent on it."""
        before, began = self._spent(), time.perf_counter()
        work()
        seconds = time.perf_counter() - began
        return [
            max(0.0, now - was - idle * seconds)
            for now, was, idle in zip(self._spent(), before, self._idle, strict=True)
        ]


class _Both(NamedTuple):
    three: _Servers
    one: _Servers


def cluster(bench: Bench) -> list[Figure]:
    """Measure appends and wake-ups on both, in turn."""
    bench.empty()
    idle = max(0.2, 5 * bench.scale)
    with redis_cluster(replicas=0) as found, connect(found.url) as client:
        pids = [node.pid for node in found.primaries]
        both = _Both(
            _Servers(found.url, client, pids, idle),
            _Servers(bench.redis.url, bench.client, [bench.redis.pid], idle),
        )
        return [_append(bench, both), _capacity(bench, both), _waking(bench, both)]


def _append(bench: Bench, both: _Both) -> Figure:
    """Compare the CPU time of one append, of the worker and of all servers together."""
    names, count = tenants(100), bench.scaled(5_000, least=200)

    def sampled(servers: _Servers) -> Callable[[], Sample]:
        def append() -> None:
            for job in range(count):
                servers.appender.append(names[job % len(names)], progress_event(job))

        def measured() -> Sample:
            began, spent = time.perf_counter(), own_cpu_seconds()
            served = sum(servers.work(append))
            cpu = Cpu(own_cpu_seconds() - spent, served, 0.0)
            return Sample(count / (time.perf_counter() - began), cpu.each(count))

        append()  # connections, and the groups' queues
        return measured

    found = compare(bench.rounds(7), sampled(both.three), sampled(both.one))
    ratio = sum(found.cpu) / max(0.1, sum(found.limit_cpu))
    return Figure(
        "append one on a cluster, CPU / single server",
        aim=1.1,
        key="append_cluster",
        **{**found.time_fields(), "value": ratio},
        details={"appends": count, "time_ratio": 1 / found.pair.ratio},
    )


def _capacity(bench: Bench, both: _Both) -> Figure:
    """Compare the CPU time of an event on the busiest server: the appends that a core takes."""
    names, count = tenants(3_000), bench.scaled(100_000, least=3_000)
    events = [(names[job % len(names)], progress_event(job)) for job in range(count)]

    def busiest(servers: _Servers) -> float:
        """Return the CPU microseconds of the busiest server for each event of all servers."""

        def append() -> None:
            for at in range(0, count, AT_ONCE):
                servers.appender.append_many(events[at : at + AT_ONCE])

        return 1e6 * max(servers.work(append)) / count

    rounds = [(busiest(both.three), busiest(both.one)) for _ in range(bench.rounds(5))]
    three, one = (median(part) for part in zip(*rounds, strict=True))
    return Figure(
        "appends that three primaries take, by CPU / one server",
        one / max(0.01, three),
        2.5,
        at_least=True,
        key="cluster_capacity",
        timed=False,
        product=f"{three:.2f} µs",
        limit=f"{one:.2f} µs",
        details={"events": count, "each": "CPU of the busiest server for an event of all servers"},
    )


def _waking(bench: Bench, both: _Both) -> Figure:
    """Compare the p99 from an append to its waiting consumer's lease; both in turn each time."""
    count = bench.scaled(3_000, least=30)
    with ExitStack() as stack:
        ours, theirs = (stack.enter_context(_Waker(each)) for each in both)
        pairs = [(ours.wake(), theirs.wake()) for _ in range(count)]
    three, one = (quantile(part, 0.99) for part in zip(*pairs, strict=True))
    p50 = [1e3 * median(part) for part in zip(*pairs, strict=True)]
    return Figure(
        "waking a consumer on a cluster, p99 / single server",
        three / one,
        2.0,
        key="cluster_waking",
        product=f"{three * 1e3:.2f} ms",
        limit=f"{one * 1e3:.2f} ms",
        details={"wakes": count, "p50_ms": p50},
    )


class _Waker:
    """A consumer that waits in a thread for ready marks, and an appender that sets them."""

    def __init__(self, servers: _Servers) -> None:
        self._client = connect(servers.url)
        self._queue = ReadyQueue(self._client, "status")
        self._appender = servers.appender
        self._names = tenants(30)
        self._count, self._at = 0, 0.0
        self._taken, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._take, daemon=True)

    def __enter__(self) -> Self:
        while lease := self._queue.take(1_000, 0):
            if not lease.tenants:
                break
            self._queue.finish(lease, more=[])
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(LOST_SECONDS)
        self._client.close()

    def wake(self) -> float:
        """Append an event; return the seconds until the consumer has its tenant's lease.

        Raises:
            RuntimeError: it was not woken.
        """
        time.sleep(PAUSE_SECONDS)
        self._taken.clear()
        self._count += 1
        began = time.perf_counter()
        self._appender.append(
            self._names[self._count % len(self._names)], progress_event(self._count)
        )
        if not self._taken.wait(LOST_SECONDS):
            raise RuntimeError("an append did not wake the consumer")
        return self._at - began

    def _take(self) -> None:
        while not self._stop.is_set():
            lease = self._queue.take(100, TAKE_SECONDS)
            self._at = time.perf_counter()
            if lease.tenants:
                self._queue.finish(lease, more=[])
                self._taken.set()

"""Latency: from an append to an answer that contains it, at a steady rate of appends."""

from __future__ import annotations

import http.client
import multiprocessing
import time
from collections.abc import Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack

import orjson

from benchmarks.delivery import NAMES
from benchmarks.load import HOST
from benchmarks.measure import quantile
from benchmarks.reading import api, credentials, port_of
from benchmarks.report import Figure
from benchmarks.servers import Bench
from benchmarks.workload import STEPS, lives
from streams.appender import EventAppender
from streams.connection import connect
from streams.events import Progress

RATE = 1_000
"""Events a second."""
PROBE_EVERY = 0.02
"""Seconds between two events whose latency is measured."""
LOOK_EVERY = 0.0005
"""Seconds between two polls for such an event."""
LOST_SECONDS = 5.0

_PROBE = "probe"


def latency(bench: Bench) -> list[Figure]:
    """Measure with both groups, the API and the appender in separate processes."""
    bench.empty()
    seconds = max(1.0, 10 * bench.scale)
    with ExitStack() as stack:
        for group in ("status", "rows"):
            stack.enter_context(bench.jobtrail("consume", group)).wait_for_output(
                "consumer_started"
            )
        port = port_of(stack.enter_context(api(bench)))
        pool = stack.enter_context(ProcessPoolExecutor(1, multiprocessing.get_context("spawn")))
        probe = _Probe(EventAppender(bench.client), port)
        probe.measure(LOST_SECONDS)  # the first event of a tenant creates groups, and the job
        appending = pool.submit(append_steadily, bench.redis.url, seconds)
        latencies = probe.sample_until(appending)
        rate = appending.result()
    details = {"events_per_second": rate, "samples": len(latencies), "look_every": LOOK_EVERY}
    return [
        Figure(
            f"append to readable over HTTP, {name}",
            quantile(latencies, share) * 1e3,
            aim,
            unit="ms",
            details=details,
        )
        for name, share, aim in (("p50", 0.5, 5), ("p99", 0.99, 20))
    ]


def append_steadily(redis_url: str, seconds: float) -> float:
    """Append `RATE` events a second, one in a call; return the rate that was reached."""
    appender, count = EventAppender(connect(redis_url)), int(RATE * seconds)
    jobs = count // (len(NAMES) * len(STEPS)) + 1
    events = [event for event, _ in zip(lives(NAMES, jobs), range(count), strict=False)]
    began = time.perf_counter()
    for number, (tenant, raw) in enumerate(events):
        early = began + number / RATE - time.perf_counter()
        if early > 0:
            time.sleep(early)
        appender.append(tenant, raw)
    return count / (time.perf_counter() - began)


class _Probe:
    """One job, the latency of whose events is measured."""

    def __init__(self, appender: EventAppender, port: int) -> None:
        self._appender = appender
        self._connection = http.client.HTTPConnection(HOST, port, timeout=5)
        self._headers: Mapping[str, str] = credentials(NAMES[0])
        self._count = 0

    def sample_until(self, load: Future[float]) -> list[float]:
        """Measure until the load ends; return the latencies in seconds."""
        latencies = []
        while not load.done():
            latencies.append(self.measure(LOST_SECONDS))
            time.sleep(max(0.0, PROBE_EVERY - latencies[-1]))
        return latencies

    def measure(self, timeout: float) -> float:
        """Append an event; return the seconds until an answer contains it.

        Raises:
            RuntimeError: no answer contained it within the time limit.
        """
        self._count += 1
        step = f"step-{self._count}"
        began = time.perf_counter()
        self._appender.append(NAMES[0], Progress(id=_PROBE, step=step, percent=50))
        while self._step() != step:
            if time.perf_counter() - began > timeout:
                raise RuntimeError(f"an event was in no answer within {timeout} s")
            time.sleep(LOOK_EVERY)
        return time.perf_counter() - began

    def _step(self) -> object:
        path = f"/api/v1/jobs/{_PROBE}/progress/"
        self._connection.request("GET", path, headers=dict(self._headers))
        response = self._connection.getresponse()
        body = response.read()
        return orjson.loads(body)["progress"]["step"] if response.status == 200 else None

"""Events that arrive at a steady rate while something else is measured.

A thread of this process appends them, and consumers of both groups, which are processes as in a
deployment, apply them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice

import psycopg

from benchmarks.servers import Bench, wait_until
from benchmarks.workload import fill, lives
from streams.appender import GROUPS

RATE = 1_000
"""Events a second."""
MAX_SECONDS = 600.0
"""The time after which no more events are appended, whatever else goes on."""
TENANTS = 100
TICK_SECONDS = 0.1
START_SECONDS = 120.0


class Arrivals:
    """The events that were appended until now."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._began = time.monotonic()
        self._count = 0

    @property
    def per_second(self) -> float:
        """The rate that was reached."""
        return self._count / (time.monotonic() - self._began)

    def append(self, bench: Bench, stop: threading.Event) -> None:
        """Append events until `stop` is set, at most for `MAX_SECONDS`."""
        names = [f"tenant-{number}" for number in range(TENANTS)]
        events = lives(names, round(self._rate * MAX_SECONDS))
        while time.monotonic() - self._began < MAX_SECONDS:
            due = round((time.monotonic() - self._began) * self._rate) - self._count
            self._count += fill(bench.client, islice(events, due))
            if stop.wait(TICK_SECONDS):
                return


@contextmanager
def arriving(bench: Bench, url: str) -> Iterator[Arrivals]:
    """Let events arrive during the block, in a database with this URL; the first are applied."""
    environ = {"JOBTRAIL_DATABASE_URL": url, "JOBTRAIL_LOG_LEVEL": "warning"}
    stop, arrivals = threading.Event(), Arrivals(bench.scaled(RATE, least=50))
    feeder = threading.Thread(target=arrivals.append, args=(bench, stop))
    with ExitStack() as stack, psycopg.connect(url, autocommit=True) as connection:
        for group in GROUPS:
            stack.enter_context(bench.jobtrail("consume", group, environ=environ))

        def are_applied() -> bool:
            return connection.execute("SELECT FROM job_events LIMIT 1").fetchone() is not None

        feeder.start()
        try:
            wait_until(are_applied, "the first events are applied", START_SECONDS)
            yield arrivals
        finally:
            stop.set()
            feeder.join()

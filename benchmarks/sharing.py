"""Four consumers of a group, one of which is killed again and again and replaced."""

from __future__ import annotations

import os
import re
import signal
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from statistics import median

import psycopg

from benchmarks.report import Figure
from benchmarks.servers import Bench
from benchmarks.waiting import wait_until_drained
from benchmarks.workload import Payload, lives, tenants
from ops.devstack.server import free_port
from streams.appender import EventAppender

CONSUMERS = 4
SECONDS = 2.0
"""Seconds from one kill to the next."""
TENANTS = 100
RATE, AT_ONCE = 1_000, 10
"""Events a second, and those that are appended at once."""
DRAIN_SECONDS = 120
_APPLIED = re.compile(r'^jobtrail_events_applied_total\{group="rows"\} (\S+)', re.MULTILINE)


class _Member:
    """One consumer process."""

    def __init__(self, bench: Bench) -> None:
        self._stack, self._port = ExitStack(), free_port()
        environ = {
            "JOBTRAIL_METRICS_PORT": str(self._port),
            "JOBTRAIL_RECLAIM_IDLE_SECONDS": "1",
        }
        running = self._stack.enter_context(bench.jobtrail("consume", "rows", environ=environ))
        running.wait_for_output("consumer_started")
        self._pid = running.pid

    def applied(self) -> float:
        """Return the number of events that it has applied."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=10) as answer:
            found = _APPLIED.search(answer.read().decode())
        return float(found[1]) if found else 0.0

    def kill(self) -> None:
        """End it by SIGKILL."""
        os.kill(self._pid, signal.SIGKILL)
        self.stop()

    def stop(self) -> None:
        """End it in order, unless it has ended."""
        self._stack.close()


def sharing(bench: Bench) -> list[Figure]:
    """Compare what each consumer applies between two kills, and count what is stored at the end."""
    bench.empty()
    _truncate(bench)
    names, kills = tenants(TENANTS), bench.scaled(10, least=1)
    events = lives(names, 1_000_000)
    appender, members = EventAppender(bench.client), [_Member(bench) for _ in range(CONSUMERS)]
    shares, count = list[list[float]](), 0
    try:
        for _ in range(kills):
            before = [each.applied() for each in members]
            count += _append(appender, events)
            after = [each.applied() for each in members]
            shares.append([now - was for now, was in zip(after, before, strict=True)])
            members.pop(0).kill()
            members.append(_Member(bench))
        wait_until_drained(bench.client, "rows", names, DRAIN_SECONDS)
    finally:
        for each in members:
            each.stop()
    stored, distinct = _stored(bench)
    details = {"events": count, "kills": kills, "applied": shares}
    return [
        Figure(
            "four consumers, one killed every 2 s: events not stored once",
            abs(count - distinct) + stored - distinct,
            0,
            unit="events",
            timed=False,
            details=details,
        ),
        Figure(
            "four consumers: the largest share of 2 s / the smallest",
            median(max(each) / max(1.0, min(each)) for each in shares),
            2.0,
            key="sharing",
            details=details,
        ),
    ]


def _append(appender: EventAppender, events: Iterator[Payload]) -> int:
    """Append `RATE` events a second for `SECONDS`; return how many."""
    began, count = time.perf_counter(), 0
    while (spent := time.perf_counter() - began) < SECONDS:
        if count < spent * RATE:
            count += len(appender.append_many(islice(events, AT_ONCE)))
        else:
            time.sleep(0.001)
    return count


def _truncate(bench: Bench) -> None:
    with psycopg.connect(bench.postgres.url, autocommit=True) as connection:
        connection.execute("TRUNCATE jobs, job_events")


def _stored(bench: Bench) -> tuple[int, int]:
    """Return the number of rows of the history, and of distinct events among them."""
    with psycopg.connect(bench.postgres.url) as connection:
        row = connection.execute(
            "SELECT count(*), count(DISTINCT (tenant, event_id)) FROM job_events"
        ).fetchone()
    assert row is not None
    return row[0], row[1]

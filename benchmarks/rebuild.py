"""Rebuild of rows from nothing, while events are appended and a reader polls without pause."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any

import orjson
import psycopg

from benchmarks.delivery import EVENTS_A_JOB, NAMES, drain
from benchmarks.measure import resident_bytes
from benchmarks.report import Figure
from benchmarks.servers import Bench
from benchmarks.workload import fill, job_id, lives
from consumers.chores.retention.trimming import trim
from consumers.composition import build
from streams.keys import Keys

WATCHED = 100
"""Jobs of each tenant that the reader polls."""
ARRIVALS = 500
"""Events a second that are appended meanwhile."""
TICK = 0.1

_WATCH = """
SELECT tenant, id, attempt, array_position(ARRAY['queued', 'processing', 'failed', 'done'], state)
FROM jobs WHERE kind = 'job' AND tenant = ANY(%s) AND id = ANY(%s)
"""


def rebuild(bench: Bench) -> list[Figure]:
    """Reset the rows of a million events, a tenth of which are wrong."""
    bench.empty()
    jobs = bench.scaled(1_000_000, least=10_000) // (EVENTS_A_JOB * len(NAMES))
    with psycopg.connect(bench.postgres.url, autocommit=True) as connection:
        connection.execute("TRUNCATE jobs, job_events")
        count = fill(bench.client, lives(NAMES, jobs))
        drain(build("rows", bench.settings(), bench.client, "bench"), count)
        for _ in trim(bench.client, Keys(), 0):
            pass  # only the history holds them now
        connection.execute("UPDATE jobs SET job_type = 'wrong' WHERE id LIKE '%7'")
    with bench.jobtrail("consume", "rows") as consumer:
        consumer.wait_for_output("consumer_started")
        with _arriving(bench, first=jobs), _reading(bench) as seen:
            figures = _reset(bench, count)
    seen["jobs"] = len(NAMES) * WATCHED
    return [
        *figures,
        Figure("rebuild, polls that saw absence, an older state or an error", seen["harms"], 0,
               unit="polls", details=seen),
    ]  # fmt: skip


def _reset(bench: Bench, count: int) -> list[Figure]:
    started, peak = time.monotonic(), 0
    with bench.jobtrail("replay", "rows", "--reset", "--json") as replay:
        while replay.running:
            peak = max(peak, resident_bytes(replay.pid))
            time.sleep(TICK)
        summary = orjson.loads(replay.wait_for_output("{"))
    seconds = time.monotonic() - started
    return [
        Figure(
            f"rebuild rows of {count:,} events, memory at its peak",
            peak / 1e6,
            300,
            unit="MB",
            product=f"{count / seconds:,.0f} /s",
            details={"seconds": seconds, "summary": summary},
        )
    ]


@contextmanager
def _arriving(bench: Bench, first: int) -> Iterator[None]:
    """Append new jobs' events at a steady rate."""
    events = lives(NAMES, 10**6, first=first)

    def append() -> None:
        fill(bench.client, islice(events, int(ARRIVALS * TICK)))

    with _repeating(append, TICK):
        yield


@contextmanager
def _reading(bench: Bench) -> Iterator[dict[str, Any]]:
    """Poll jobs without pause; count the polls that found a missing job or an older state."""
    ids = [job_id(number) for number in range(WATCHED)]
    seen: dict[str, Any] = {"polls": 0, "harms": 0}
    best: dict[tuple[str, str], tuple[int, int]] = {}
    with psycopg.connect(bench.postgres.url, autocommit=True) as connection:

        def poll() -> None:
            rows = connection.execute(_WATCH, (NAMES, ids)).fetchall()
            found = {(tenant, id_): (attempt, rank) for tenant, id_, attempt, rank in rows}
            seen["polls"] += 1
            seen["harms"] += len(found) != len(NAMES) * WATCHED or _older(best, found)
            best.update(found)

        with _repeating(poll, 0):
            yield seen


def _older(
    best: Mapping[tuple[str, str], tuple[int, int]],
    found: Mapping[tuple[str, str], tuple[int, int]],
) -> bool:
    return any(found.get(job, state) < state for job, state in best.items())


@contextmanager
def _repeating(work: Callable[[], None], every: float) -> Iterator[None]:
    """Repeat some work in a thread; raise its error at the end."""
    done, failures = threading.Event(), list[Exception]()

    def repeat() -> None:
        try:
            while not done.wait(every):
                work()
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    for failure in failures:
        raise failure

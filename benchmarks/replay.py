"""Replaying into what is gone, from the history alone, beside the live consumers' speed."""

from __future__ import annotations

import time

import orjson
import psycopg

from benchmarks.delivery import EVENTS_A_JOB, NAMES, drain
from benchmarks.measure import seconds
from benchmarks.report import Figure
from benchmarks.servers import Bench
from benchmarks.workload import fill, lives
from consumers.__main__ import build

AIMS = {"status": 1.0, "rows": 1.5}
SECONDS = 600.0


def replay(bench: Bench) -> list[Figure]:
    """Project live, flush Redis, empty the rows, and bring all of it back by the command."""
    bench.empty()
    jobs = bench.scaled(200_000, least=4_000) // (EVENTS_A_JOB * len(NAMES))
    with psycopg.connect(bench.postgres.url, autocommit=True) as connection:
        connection.execute("TRUNCATE jobs, job_events")
        count = fill(bench.client, lives(NAMES, jobs))
        live = {group: count / _live(bench, group, count) for group in AIMS}
        bench.empty()
        connection.execute("TRUNCATE jobs")
        again = {group: count / _replayed(bench, group, count) for group in AIMS}
    return [
        Figure(
            f"replay {group} from the history, events / live",
            again[group] / live[group],
            aim,
            at_least=True,
            product=f"{again[group]:,.0f} /s",
            limit=f"{live[group]:,.0f} /s",
            details={"limit": "one consumer, the same events", "events": count},
        )
        for group, aim in AIMS.items()
    ]


def _live(bench: Bench, group: str, count: int) -> float:
    consumer = build(group, bench.settings(), bench.client, "bench")
    return seconds(lambda: drain(consumer, count))


def _replayed(bench: Bench, group: str, count: int) -> float:
    """Run the command, its start included.

    Raises:
        RuntimeError: it did not read all events.
    """
    started = time.perf_counter()
    with bench.jobtrail("replay", group, "--json") as command:
        summary = orjson.loads(command.said("{", SECONDS))
        elapsed = time.perf_counter() - started
    if summary["events"] != count:
        raise RuntimeError(f"replay read {summary['events']} of {count} events")
    return elapsed

"""Contention: several consumers of a group on one busy tenant, and on ten, and one consumer.

Each consumer is a process. The processes are stopped while the streams are filled, so that all of
them begin with the complete backlog.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import ExitStack

import psycopg

from benchmarks.delivery import EVENTS_A_JOB
from benchmarks.measure import Sample, compare
from benchmarks.report import Figure
from benchmarks.servers import Bench, wait_until
from benchmarks.waiting import wait_until_drained
from benchmarks.workload import fill, lives, tenants

ROUNDS = 3
GROUPS = {"status": 4_000, "rows": 2_500}
"""Jobs of all tenants together in a full run, by group."""
TENANTS = (1, 10)
CONSUMERS = (2, 4)
WARM_JOBS = 20
LEAST_JOBS = 2_000
DRAIN_SECONDS = 300


def contention(bench: Bench) -> list[Figure]:
    """Compare two and four consumers with one; lost races increase the CPU time."""
    return [
        _beside_one(bench, group, tenants(count), consumers)
        for group in GROUPS
        for count in TENANTS[: 1 if bench.trial else None]
        for consumers in CONSUMERS[: 1 if bench.trial else None]
    ]


def _beside_one(bench: Bench, group: str, names: Sequence[str], consumers: int) -> Figure:
    jobs = bench.scaled(GROUPS[group] // len(names), least=LEAST_JOBS // len(names))
    found = compare(
        bench.rounds(ROUNDS),
        lambda: _drained(bench, group, names, jobs, consumers),
        lambda: _drained(bench, group, names, jobs, 1),
    )
    on = "one tenant" if len(names) == 1 else f"{len(names)} tenants"
    return Figure(
        f"project {group}, {consumers} consumers on {on} / 1 consumer",
        aim=1.0,
        key=f"contention_{group}_{len(names)}_{consumers}",
        **found.fields(),
        details={
            "limit": "one consumer process, the same events",
            "events": jobs * EVENTS_A_JOB * len(names),
            "cores": os.cpu_count(),
        },
    )


def _drained(bench: Bench, group: str, names: Sequence[str], jobs: int, consumers: int) -> Sample:
    def drain() -> None:
        _send(signal.SIGCONT, pids)
        wait_until_drained(bench.client, group, names, DRAIN_SECONDS)

    bench.empty()
    with psycopg.connect(bench.postgres.url, autocommit=True) as connection:
        connection.execute("TRUNCATE jobs, job_events")
    with ExitStack() as stack:
        running = [stack.enter_context(bench.jobtrail("consume", group)) for _ in range(consumers)]
        pids = [each.pid for each in running]
        for each in running:
            each.wait_for_output("consumer_started")
        fill(bench.client, lives(names, WARM_JOBS))
        wait_until_drained(bench.client, group, names, DRAIN_SECONDS)
        _send(signal.SIGSTOP, pids)
        try:
            # A consumer that waits in the server would take the first ready marks.
            wait_until(lambda: not _blocked(bench), "no consumer waits for a tenant", 30)
            count = fill(bench.client, lives(names, jobs, first=WARM_JOBS))
            return bench.measured(count, drain, *pids)
        finally:
            _send(signal.SIGCONT, pids)


def _send(number: signal.Signals, pids: Sequence[int]) -> None:
    for pid in pids:
        os.kill(pid, number)


def _blocked(bench: Bench) -> int:
    return int(bench.client.info("clients")["blocked_clients"])

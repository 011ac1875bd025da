"""Memory: the size of a consumer process after many events."""

from __future__ import annotations

from benchmarks.delivery import EVENTS_A_JOB, NAMES
from benchmarks.measure import resident_bytes
from benchmarks.report import Figure
from benchmarks.servers import Bench
from benchmarks.waiting import wait_until_drained
from benchmarks.workload import fill, lives

FEW = 10_000
FEW_OF_A_TRIAL = 1_000
STEP = 50_000
"""Events between two measurements; the streams are emptied then, so that Redis stays small."""

_MIB = 2**20


def memory(bench: Bench) -> list[Figure]:
    """Measure a status consumer after ten thousand events and after a million."""
    bench.empty()
    few = FEW_OF_A_TRIAL if bench.trial else FEW
    many = bench.scaled(1_000_000, least=2 * few if bench.trial else few + STEP)
    with bench.jobtrail("consume", "status") as consumer:
        consumer.wait_for_output("consumer_started")
        done = _feed(bench, 0, few)
        before = after = resident_bytes(consumer.pid)
        held = [before]
        while done < many:
            bench.empty()
            done += _feed(bench, done, min(STEP, many - done))
            after = resident_bytes(consumer.pid)
            held.append(after)
    name = f"consumer's memory after {done:,} events"
    return [
        Figure(
            f"{name} / {few:,}",
            after / before,
            1.1,
            key="memory",
            timed=False,
            product=f"{after / _MIB:.0f} MiB",
            limit=f"{before / _MIB:.0f} MiB",
            details={"resident_bytes": held},
        ),
        Figure(name, after / 1e6, 150, unit="MB", timed=False),
    ]


def _feed(bench: Bench, done: int, count: int) -> int:
    """Append about `count` events of new jobs, and wait until they are projected."""
    jobs = count // (EVENTS_A_JOB * len(NAMES))
    first = done // (EVENTS_A_JOB * len(NAMES))
    fed = fill(bench.client, lives(NAMES, jobs, first=first))
    wait_until_drained(bench.client, "status", NAMES, 120)
    return fed

"""Ten and a hundred thousand tenants: their cost while they are idle, and with events of all."""

from __future__ import annotations

import time

from benchmarks.delivery import NAMES, drain
from benchmarks.measure import CpuMeter, Sample, compare
from benchmarks.report import Figure
from benchmarks.servers import Bench
from benchmarks.waiting import wait_until_drained
from benchmarks.workload import KEYS, STEPS, fill, lives, tenants
from consumers.chores.sweep.chore import Sweep
from consumers.chores.sweep.known_streams import FORGET_SECONDS
from consumers.composition import build

TENANTS, MORE_TENANTS = 10_000, 100_000
MOST_PERCENT, MOST_PERCENT_OF_MORE = 3, 15
"""The aims for the CPU of idle tenants, of so many."""
SPREAD_ROUNDS = 3
SETTLE_SECONDS = 3.0
"""Sweeps after which a new consumer knows the streams of `TENANTS`."""
DRAIN_SECONDS = 120.0


def idle_and_spread(bench: Bench) -> list[Figure]:
    """Measure idle tenants, and events of many tenants."""
    names = _names(bench, TENANTS)
    figures = [*_idle(bench, names, MOST_PERCENT), _spread(bench, names)]
    if not bench.trial:
        figures += _idle(bench, _names(bench, MORE_TENANTS), MOST_PERCENT_OF_MORE)
    return figures


def _names(bench: Bench, count: int) -> list[str]:
    """Return so many tenants, or fewer in a small run."""
    return tenants(min(count, bench.scaled(count, least=500)))


def _idle(bench: Bench, names: list[str], aim: float) -> list[Figure]:
    """Measure an idle consumer process and Redis, including one complete sweep in a minute."""
    bench.empty()
    count = fill(bench.client, lives(names, 1, steps=1))
    for group in ("rows", "status"):
        drain(build(group, bench.settings(), bench.client, "bench"), count)
    bench.client.delete(KEYS.sweeper())
    with bench.jobtrail("consume", "status") as consumer:
        consumer.wait_for_output("consumer_started")
        wait_until_drained(bench.client, "status", names, DRAIN_SECONDS)
        time.sleep(SETTLE_SECONDS * max(1.0, len(names) / TENANTS))
        ours, theirs = CpuMeter(consumer.pid), CpuMeter(bench.redis.pid)
        time.sleep(max(0.5, 10 * bench.scale))
        steady = {"consumer": ours.share(), "redis": theirs.share()}
    first = _sweep_from_nothing(bench)
    return [
        Figure(
            f"{len(names):,} idle tenants, CPU of {name}",
            100 * (steady[name] + first[name] / FORGET_SECONDS),
            aim,
            unit="%",
            details={"steady_share": steady[name], "first_sweep_cpu_seconds": first[name]},
        )
        for name in steady
    ]


def _sweep_from_nothing(bench: Bench) -> dict[str, float]:
    """Return the CPU seconds of the sweep that a consumer does once in `FORGET_SECONDS`."""
    bench.client.delete(KEYS.sweeper())
    sweep = Sweep(bench.client, "status", "bench")
    theirs, began = CpuMeter(bench.redis.pid), time.process_time()
    sweep.run()
    return {"consumer": time.process_time() - began, "redis": theirs.seconds()}


def _spread(bench: Bench, names: list[str]) -> Figure:
    """Compare one life in each of many tenants with the same number of lives in ten."""
    count = len(names) * len(STEPS)
    consumer = build("status", bench.settings(), bench.client, "bench")

    def sampled(over: list[str]) -> Sample:
        bench.empty()
        fill(bench.client, lives(over, len(names) // len(over)))
        return bench.measured(count, lambda: drain(consumer, count))

    sampled(NAMES)
    rounds = bench.rounds(SPREAD_ROUNDS)
    found = compare(rounds, lambda: sampled(names), lambda: sampled(NAMES))
    return Figure(
        f"status over {len(names):,} tenants, events / over ten",
        aim=0.5,
        key="spread",
        **found.fields(),
        details={
            "limit": "the same events over ten tenants",
            "cpu_ratio": sum(found.limit_cpu) / max(0.1, sum(found.cpu)),
        },
    )

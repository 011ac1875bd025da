"""The simulation agrees with `jobtrail size`: what it computes suffices, and far less does not."""

from __future__ import annotations

import pytest

from benchmarks.measure import quantile
from benchmarks.simulation import LOAD, Nodes, Simulation
from ops.tasks.sizing.model import BUSY, Load, size

SMALL = Load(tenants=100, events_per_second=5_000, viewers=20_000, jobs_per_day=20_000_000)
SECONDS = 1.0


def test_the_load_of_the_simulation_needs_about_a_hundred_nodes() -> None:
    assert 90 <= Nodes.of(size(LOAD)).total <= 120


def test_the_computed_size_serves_in_time() -> None:
    found = Simulation(SMALL, Nodes.of(size(SMALL))).run(SECONDS)
    for group, delays in found.delays.items():
        assert quantile(delays, 0.99) < 0.5
        assert found.waiting[group] < SMALL.events_per_second / 2
    assert quantile(found.polls, 0.99) < 0.02
    assert found.busy["api"] < BUSY
    assert found.busy["redis"] < BUSY


def test_far_fewer_processes_fall_behind() -> None:
    nodes = Nodes.of(size(SMALL))
    enough = Simulation(SMALL, nodes).run(SECONDS)
    # One process for what needs one and a half cores.
    fewer = Simulation(SMALL, nodes._replace(api=1)).run(SECONDS)
    assert quantile(fewer.polls, 0.99) > 10 * quantile(enough.polls, 0.99)
    flood = SMALL._replace(events_per_second=100_000, viewers=0)
    nodes = nodes._replace(redis=16, consumers={"status": 2, "rows": 2})
    assert Simulation(flood, nodes).run(0.5).waiting["rows"] > 5_000
    nodes = nodes._replace(consumers={"status": 2, "rows": 4})
    assert Simulation(flood, nodes).run(0.5).waiting["rows"] < 5_000


@pytest.mark.parametrize("rate", [100, 5_000])
def test_cores_are_those_that_are_computed(rate: int) -> None:
    load = SMALL._replace(events_per_second=rate, jobs_per_day=1_000_000, tenants=1)
    needed = size(load)
    found = Simulation(load, Nodes.of(needed)).run(SECONDS)
    api = found.busy["api"] * needed.api.processes
    assert 1 / 1.5 < api / needed.api.cores < 1.5
    if rate == 100:  # each event is a batch of its own
        redis = found.busy["redis"] * needed.redis_primaries
        assert 1 / 1.5 < redis / needed.redis_cores < 1.5

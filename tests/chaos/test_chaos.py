"""Short runs of the chaos; `make chaos` is the long one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.chaos.faults import FAULTS, schedule
from tests.chaos.run import Options, Report, run

SEED = 20_261


def _said(report: Report) -> str:
    return "\n".join(report.lines())


@pytest.mark.thorough
def test_every_fault_once_under_load__nothing_lost_nothing_twice(
    record_property: Callable[[str, object], None],
) -> None:
    planned = schedule(SEED, rounds=1, longest=1)
    report = run(Options(SEED, 20_000, 45, planned), say=lambda line: record_property("heal", line))

    assert report.violations == [], _said(report)
    assert report.heal_seconds.keys() <= FAULTS["standalone"].keys()
    assert report.verdict.acknowledged > 10_000


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("servers", "kinds"),
    [
        ("sentinel", ["replace_primary", "freeze_primary", "hand_over", "kill_consumer"]),
        (
            "cluster",
            ["replace_primary", "freeze_primary", "hand_over", "move_slots", "replace_node"],
        ),
    ],
)
def test_servers_replaced_under_load__nothing_lost_nothing_twice(
    servers: str, kinds: list[str]
) -> None:
    planned = schedule(SEED, 1, 1, servers, kinds)
    report = run(Options(SEED, 2_000, 15, planned, servers=servers, whole=True), say=print)

    assert report.violations == [], _said(report)
    assert report.heal_seconds.keys() == set(kinds)


def test_consumers_killed_between_commit_and_acknowledgement__effect_once() -> None:
    report = run(Options(SEED, 1_000, 10, planned=[], consumers=1, kill_at_ack=10), say=print)

    assert report.violations == [], _said(report)

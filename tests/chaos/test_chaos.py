"""A short run of the chaos; `make chaos` is the long one."""

from __future__ import annotations

from collections.abc import Callable

from tests.chaos.faults import FAULTS, schedule
from tests.chaos.run import Options, Report, run

SEED = 20_261


def _said(report: Report) -> str:
    return "\n".join(report.lines())


def test_every_fault_once_under_load__nothing_lost_nothing_twice(
    record_property: Callable[[str, object], None],
) -> None:
    planned = schedule(SEED, rounds=1, longest=1)
    report = run(Options(SEED, 20_000, 45, planned), say=lambda line: record_property("heal", line))

    assert report.violations == [], _said(report)
    assert report.heal_seconds.keys() <= FAULTS.keys()
    assert report.verdict.acknowledged > 10_000


def test_consumers_killed_between_commit_and_acknowledgement__effect_once() -> None:
    report = run(Options(SEED, 1_000, 10, planned=[], consumers=1, kill_at_ack=10), say=print)

    assert report.violations == [], _said(report)

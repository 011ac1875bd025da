"""A check that the machine was quiet enough for a benchmark's figures to be believed."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import NamedTuple

import psutil  # type: ignore[import-untyped]

from benchmarks.measure import tree_cpu_seconds

MAX_OTHERS = 0.1
"""Share of the machine's CPU time that other processes, and other guests of its host, may have."""
MAX_SPREAD = 1.3
"""The fastest round of a baseline may be so many times as fast as its slowest one."""


class _Reading(NamedTuple):
    """Seconds since some time in the past."""

    clock: float
    machine: float
    """CPU time of everything, time stolen by the host included."""
    ours: float

    @classmethod
    def now(cls) -> _Reading:
        times = psutil.cpu_times()._asdict()
        # Guests' times are part of user and nice already.
        idle = ("idle", "iowait", "guest", "guest_nice")
        machine = sum(spent for name, spent in times.items() if name not in idle)
        return cls(time.monotonic(), machine, tree_cpu_seconds(os.getpid()))


class Witness:
    """Watches who used the machine since it was made."""

    def __init__(self) -> None:
        self._began = _Reading.now()

    def others(self) -> float:
        """Return the share of the machine's CPU time that was neither ours nor idle."""
        now = _Reading.now()
        clock, machine, ours = (
            after - before for after, before in zip(now, self._began, strict=True)
        )
        return max(0.0, machine - ours) / (clock * (os.cpu_count() or 1))


def doubt(others: float, rounds: Sequence[tuple[float, float]]) -> str:
    """Return why a figure is not to be believed, from the machine and its rounds; else nothing."""
    reasons = []
    if others > MAX_OTHERS:
        reasons.append(f"others used {others:.0%} of the machine")
    baseline = [limit for _, limit in rounds]
    if baseline and min(baseline) > 0 and max(baseline) > MAX_SPREAD * min(baseline):
        spread = max(baseline) / min(baseline) - 1
        reasons.append(f"rounds of the baseline differ by {spread:.0%}")
    return "; ".join(reasons)

"""A check that the machine was idle enough for a benchmark's figures to be valid."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import NamedTuple

import psutil  # type: ignore[import-untyped]

from benchmarks.measure import tree_cpu_seconds

MAX_OTHERS = 0.1
"""The share of the CPU time that other processes, and other guests of the host, may have."""
MAX_SPREAD = 1.3
"""The greatest valid ratio of the fastest round of a baseline to the slowest one."""


class _Reading(NamedTuple):
    """A number of seconds since some time in the past."""

    clock: float
    machine: float
    """The CPU time of all processes, including time that the host took."""
    ours: float

    @classmethod
    def now(cls) -> _Reading:
        times = psutil.cpu_times()._asdict()
        # Times of guests are included in user and nice.
        idle = ("idle", "iowait", "guest", "guest_nice")
        machine = sum(spent for name, spent in times.items() if name not in idle)
        return cls(time.monotonic(), machine, tree_cpu_seconds(os.getpid()))


class Witness:
    """Monitor of the use of the machine since it was created."""

    def __init__(self) -> None:
        self._began = _Reading.now()

    def others(self) -> float:
        """Return the share of the CPU time that was neither the benchmark's nor idle."""
        now = _Reading.now()
        clock, machine, ours = (
            after - before for after, before in zip(now, self._began, strict=True)
        )
        return max(0.0, machine - ours) / (clock * (os.cpu_count() or 1))


def doubt(others: float, rounds: Sequence[tuple[float, float]]) -> str:
    """Return the reason to doubt a figure, from the machine and its rounds; else an empty text."""
    reasons = []
    if others > MAX_OTHERS:
        reasons.append(f"others used {others:.0%} of the machine")
    baseline = [limit for _, limit in rounds]
    if baseline and min(baseline) > 0 and max(baseline) > MAX_SPREAD * min(baseline):
        spread = max(baseline) / min(baseline) - 1
        reasons.append(f"rounds of the baseline differ by {spread:.0%}")
    return "; ".join(reasons)

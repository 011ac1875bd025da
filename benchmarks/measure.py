"""Measuring two things side by side, and what a process costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import NamedTuple

import psutil  # type: ignore[import-untyped]


class Pair(NamedTuple):
    """The product beside its limit: medians of each, and the median of the rounds' ratios."""

    product: float
    limit: float
    ratio: float
    rounds: Sequence[tuple[float, float]]


def alternate(rounds: int, product: Callable[[], float], limit: Callable[[], float]) -> Pair:
    """Measure both in turn (A B A B ...), so that what slows the machine slows both."""
    pairs = [(product(), limit()) for _ in range(rounds)]
    return Pair(
        median(ours for ours, _ in pairs),
        median(theirs for _, theirs in pairs),
        median(ours / theirs for ours, theirs in pairs),
        pairs,
    )


def seconds(work: Callable[[], object]) -> float:
    """Give the seconds that the work takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def quantile(values: Sequence[float], share: float) -> float:
    """Give the value that this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


class CpuMeter:
    """The CPU time of a process and its children since the meter was made."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._began = self._cpu()
        self._at = time.monotonic()

    def seconds(self) -> float:
        """Give the CPU seconds used."""
        return self._cpu() - self._began

    def share(self) -> float:
        """Give the share of one core (1.0 is all of it)."""
        return self.seconds() / (time.monotonic() - self._at)

    def _cpu(self) -> float:
        # Not the times of waited-for children: they would count the processes' starts again.
        processes = [self._process, *self._process.children(recursive=True)]
        times = [process.cpu_times() for process in processes]
        return float(sum(part.user + part.system for part in times))


def resident_bytes(pid: int) -> int:
    """Give how much memory a process holds."""
    return int(psutil.Process(pid).memory_info().rss)

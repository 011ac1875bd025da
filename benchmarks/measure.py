"""Measurement of a product and its limit in turn, and of the CPU time of processes."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

import psutil  # type: ignore[import-untyped]


class Cpu(NamedTuple):
    """CPU time by process: of one event or request in microseconds, of a run in seconds."""

    python: float
    """The measured process; for a peer in another language, its process."""
    redis: float
    postgres: float

    def since(self, before: Cpu) -> Cpu:
        """Return the difference from an earlier value."""
        return Cpu(*(now - then for now, then in zip(self, before, strict=True)))

    def each(self, count: int) -> Cpu:
        """Return the microseconds of one event, where `count` events took these seconds."""
        return Cpu(*(1e6 * spent / count for spent in self))


class Sample(NamedTuple):
    """One round: a rate, and the CPU microseconds of each event."""

    rate: float
    cpu: Cpu


class Pair(NamedTuple):
    """The product and its limit: the medians of both, and the median of the rounds' ratios."""

    product: float
    limit: float
    ratio: float
    rounds: Sequence[tuple[float, float]]


class Comparison(NamedTuple):
    """A pair of rates, with the median CPU time of an event on both sides."""

    pair: Pair
    cpu: Cpu
    limit_cpu: Cpu

    def fields(self) -> Mapping[str, Any]:
        """Return the fields of a figure whose value is the ratio of the two rates."""
        return {
            "value": self.pair.ratio,
            "at_least": True,
            "product": f"{self.pair.product:,.0f} /s",
            "limit": f"{self.pair.limit:,.0f} /s",
            "cpu": self.cpu,
            "limit_cpu": self.limit_cpu,
            "rounds": self.pair.rounds,
        }

    def time_fields(self) -> Mapping[str, Any]:
        """Return the fields of a figure whose value is the ratio of the times of one event."""
        return {
            **self.fields(),
            "value": 1 / self.pair.ratio,
            "at_least": False,
            "product": _time_shown(1 / self.pair.product),
            "limit": _time_shown(1 / self.pair.limit),
        }


def _time_shown(seconds: float) -> str:
    return f"{seconds * 1e6:.0f} µs" if seconds < 0.001 else f"{seconds * 1e3:.0f} ms"


def alternate(rounds: int, product: Callable[[], float], limit: Callable[[], float]) -> Pair:
    """Measure both in turn (A B A B ...), so that a slower machine slows both."""
    pairs = [(product(), limit()) for _ in range(rounds)]
    return Pair(
        median(ours for ours, _ in pairs),
        median(theirs for _, theirs in pairs),
        median(ours / theirs for ours, theirs in pairs),
        pairs,
    )


def compare(rounds: int, product: Callable[[], Sample], limit: Callable[[], Sample]) -> Comparison:
    """Measure in turn the rates of both, and the CPU time of an event."""
    spent: tuple[list[Cpu], list[Cpu]] = [], []

    def rate(side: int, measured: Callable[[], Sample]) -> float:
        sample = measured()
        spent[side].append(sample.cpu)
        return sample.rate

    pair = alternate(rounds, lambda: rate(0, product), lambda: rate(1, limit))
    return Comparison(pair, medians(spent[0]), medians(spent[1]))


def medians(spent: Sequence[Cpu]) -> Cpu:
    """Return the median of each part."""
    return Cpu(*(median(part) for part in zip(*spent, strict=True)))


def seconds(work: Callable[[], object]) -> float:
    """Return the seconds that some work takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


class CpuMeter:
    """Meter of the CPU time of a process and its children since it was created."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._began = self._cpu()
        self._at = time.monotonic()

    def seconds(self) -> float:
        """Return the CPU seconds used."""
        return self._cpu() - self._began

    def share(self) -> float:
        """Return the share of one core that was used, from 0 to 1."""
        return self.seconds() / (time.monotonic() - self._at)

    def _cpu(self) -> float:
        # Without the times of ended children, which would count the starts of processes again.
        processes = [self._process, *self._process.children(recursive=True)]
        times = [process.cpu_times() for process in processes]
        return float(sum(part.user + part.system for part in times))


def own_cpu_seconds() -> float:
    """Return the CPU seconds of this process and of the children that it has waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def tree_cpu_seconds(pid: int) -> float:
    """Return the CPU seconds of a process and of all its children, those that ended included."""
    process = psutil.Process(pid)
    spent = 0.0
    for each in [process, *process.children(recursive=True)]:
        try:
            times = each.cpu_times()
        except psutil.NoSuchProcess:
            continue
        spent += times.user + times.system + times.children_user + times.children_system
    return spent


def resident_bytes(pid: int) -> int:
    """Return the memory of a process in bytes."""
    return int(psutil.Process(pid).memory_info().rss)

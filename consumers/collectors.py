"""Two kinds of metric that the Prometheus client library does not have.

A *fleeting gauge* is published by the elected consumer alone. Its values expire unless they are
published again, so that a consumer that is stuck or was replaced shows no old figure beside the new
one. An *event histogram* observes all events of a batch at once, for a tenth of the cost of
observing each event. Used by `consumers.metrics`.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

Values = Mapping[tuple[()], float] | Mapping[tuple[str], float] | Mapping[tuple[str, str], float]
"""Values by their label values."""


class FleetingGauge(Collector):
    """A gauge whose values expire.

    Args:
        clock: returns monotonic seconds.
    """

    _family: type[GaugeMetricFamily | CounterMetricFamily] = GaugeMetricFamily

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str] = (),
        *,
        registry: CollectorRegistry = REGISTRY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._documentation = documentation
        self._labels = tuple(labels)
        self._clock = clock
        self._values: Mapping[tuple[str, ...], float] = {}
        self._until = float("-inf")
        registry.register(self)

    def publish(self, values: Values, seconds: float) -> None:
        """Replace all values by these, for so many seconds at most."""
        self._values, self._until = dict(values.items()), self._clock() + seconds

    def withdraw(self) -> None:
        """Remove all values."""
        self._until = float("-inf")

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """Yield the metric with the values that have not expired."""
        family = self._family(self._name, self._documentation, labels=self._labels)
        if self._clock() < self._until:
            for labels, value in self._values.items():
                family.add_metric(labels, value)
        yield family


class FleetingCounter(FleetingGauge):
    """A counter that all processes share and that is stored in Redis; its value expires here."""

    _family = CounterMetricFamily


class EventHistogram(Collector):
    """A histogram of ages, with one label, that observes all events of a batch at once.

    The library's histogram observes one value at a time, which takes a microsecond or more.
    """

    def __init__(
        self,
        name: str,
        documentation: str,
        label: str,
        *,
        buckets: Sequence[float],
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        self._name = name
        self._documentation = documentation
        self._label = label
        self._buckets = tuple(buckets)
        self._lock = threading.Lock()
        self._counts: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}
        registry.register(self)

    def observe_ages(self, label: str, now_ms: float, times_ms: Sequence[int]) -> None:
        """Observe the age in seconds of each of these times; the age of a future time is 0."""
        times, count = sorted(times_ms), len(times_ms)
        upto = [count - bisect_left(times, now_ms - bound * 1000) for bound in self._buckets]
        upto.append(count)
        total = max(0.0, count * now_ms - sum(times)) / 1000
        with self._lock:
            counts = self._counts.setdefault(label, [0] * len(upto))
            self._counts[label] = [old + new for old, new in zip(counts, upto, strict=True)]
            self._sums[label] = self._sums.get(label, 0.0) + total

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Yield the metric with all observations."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=(self._label,))
        names = [*map(floatToGoString, self._buckets), "+Inf"]
        with self._lock:
            for label, counts in self._counts.items():
                buckets = list(zip(names, counts, strict=True))
                family.add_metric((label,), buckets, self._sums[label])
        yield family

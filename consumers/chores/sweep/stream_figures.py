"""The figures of all streams, for metrics: what each group has not settled, and dead letters.

The sweep examines every stream with new entries anyway, and passes the unsettled groups to
`update`, which also reads the age of their oldest entries; an idle stream costs nothing. Each sweep
updates a bounded number of streams, so that a figure may be some sweeps old if very many are
unsettled; an age still grows meanwhile. Only the elected consumer publishes. Used by
`consumers.chores.sweep`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from heapq import nlargest
from itertools import islice

import redis

from consumers import metrics
from consumers.delivery.group_states import GroupState
from consumers.delivery.lag import Unsettled, unsettled
from streams.cluster import is_lost
from streams.keys import TENANT, Keys
from streams.wire import Command, checked, round_trip

KEEP_SECONDS = 180.0
"""The time for which a stream counts without an update; an open one has one every minute."""
DEAD_AT_ONCE = 500
"""The number of tenants' dead letters counted in one sweep."""
MAX_TENANT_LABELS = 100
"""The number of a group's tenants that may become labels: those furthest behind."""


class StreamFigures:
    """The unsettled entries and dead letters of all streams, as the elected consumer knows them.

    Args:
        tenants: whether the tenants furthest behind are published by name.
        clock: returns the seconds since 1970.
    """

    def __init__(
        self,
        client: redis.Redis,
        keys: Keys,
        *,
        tenants: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._keys = keys
        self._tenants = tenants
        self._clock = clock
        self._updated: dict[bytes, tuple[float, dict[str, Unsettled]]] = {}
        """By stream: the time of its update and what its groups have not settled, oldest first."""
        self._dead: dict[bytes, tuple[int, int]] = {}
        """Number and bytes of the dead letters at each of their keys."""
        self._shed = 0

    def update(self, streams: Mapping[bytes, Mapping[str, GroupState | None]]) -> None:
        """Read the unsettled entries of each stream for these groups, given with their states.

        The state of a group that does not exist on the stream yet is None. A stream without groups
        is settled.

        Raises:
            redis.ConnectionError, redis.TimeoutError: Redis is unavailable; nothing has changed.
        """
        places = [
            (stream, state) for stream, groups in streams.items() for state in groups.values()
        ]
        left = iter(unsettled(self._client, places, partial=True))
        now = self._clock()
        for stream, groups in streams.items():
            self._updated.pop(stream, None)
            found = {group: each for group in groups if (each := next(left)) is not None}
            if found:
                self._updated[stream] = now, found

    def add_dead(self, names: Iterable[bytes]) -> None:
        """Remember the keys of dead letters; `count` counts them in turn."""
        for name in names:
            self._dead.setdefault(name, (0, 0))

    def count(self) -> None:
        """Read the number of shed events, and count some of the dead letters.

        Those that were not counted for the longest time come first.

        Raises:
            redis.RedisError: Redis is unavailable or refuses the command.
        """
        names = list(islice(self._dead, DEAD_AT_ONCE))
        lengths: list[Command] = [("XLEN", name) for name in names]
        sizes: list[Command] = [("MEMORY", "USAGE", name) for name in names]
        commands: list[Command] = [("HVALS", self._keys.shed()), *lengths, *sizes]
        shed, *replies = round_trip(self._client, commands, partial=True)
        if not is_lost(shed):
            self._shed = sum(map(int, checked([shed])[0]))
        count = len(names)
        for name, length, size in zip(names, replies[:count], replies[count:], strict=True):
            if is_lost(length):
                continue
            del self._dead[name]
            if isinstance(length, int) and length:
                self._dead[name] = length, size if isinstance(size, int) else 0

    def publish(self, groups: Sequence[str], streams: int, seconds: float) -> None:
        """Publish the figures for so many seconds; `streams` is the number of known streams."""
        now = self._clock()
        self._forget(now - KEEP_SECONDS)
        letters, size = map(sum, zip((0, 0), *self._dead.values(), strict=True))
        for gauge, value in (
            (metrics.SWEEPER, 1),
            (metrics.STREAMS, streams),
            (metrics.SHED, self._shed),
            (metrics.DEAD_LETTERS, letters),
            (metrics.DEAD_BYTES, size),
        ):
            gauge.publish({(): value}, seconds)
        self._publish_groups(groups, now, seconds)
        if self._tenants:
            self._publish_tenants(now, seconds)

    def withdraw(self) -> None:
        """Forget all figures and publish none, because another consumer sweeps."""
        self._updated.clear()
        self._dead.clear()
        for gauge in _ALL:
            gauge.withdraw()

    def _forget(self, before: float) -> None:
        """Forget streams that were not updated since a time: they do not exist any more."""
        while self._updated and next(iter(self._updated.values()))[0] < before:
            del self._updated[next(iter(self._updated))]

    def _publish_groups(self, groups: Sequence[str], now: float, seconds: float) -> None:
        behind, waiting, pending = Counter[str](), Counter[str](), Counter[str]()
        oldest = dict.fromkeys(groups, now * 1000)
        for _, group, figures in self._rows():
            behind[group] += 1
            waiting[group] += _waiting(figures)
            pending[group] += figures.pending
            oldest[group] = min(oldest.get(group, now * 1000), figures.oldest_ms)
        for gauge, counts in (
            (metrics.STREAMS_BEHIND, behind),
            (metrics.WAITING, waiting),
            (metrics.PENDING, pending),
        ):
            gauge.publish({(group,): counts[group] for group in oldest}, seconds)
        # The clocks of hosts differ, and floats are rounded: an age is never below 0.
        ages = {(group,): max(0.0, now - at / 1000) for group, at in oldest.items()}
        metrics.OLDEST_SECONDS.publish(ages, seconds)

    def _publish_tenants(self, now: float, seconds: float) -> None:
        by_group: dict[str, list[tuple[int, str, int]]] = {}
        for stream, group, figures in self._rows():
            tenant = self._keys.tenant_of(stream.decode(errors="replace"))
            # Any client that may XADD chooses this name: an invalid one must not become a label.
            if TENANT.match(tenant):
                count = _waiting(figures) + figures.pending
                by_group.setdefault(group, []).append((-figures.oldest_ms, tenant, count))
        entries, ages = {}, {}
        for group, found in by_group.items():
            for minus_ms, tenant, count in nlargest(MAX_TENANT_LABELS, found):
                entries[group, tenant] = float(count)
                ages[group, tenant] = max(0.0, now + minus_ms / 1000)
        metrics.TENANT_UNSETTLED.publish(entries, seconds)
        metrics.TENANT_OLDEST_SECONDS.publish(ages, seconds)

    def _rows(self) -> Iterator[tuple[bytes, str, Unsettled]]:
        """Yield each stream and group with what the group has not settled."""
        for stream, (_, groups) in self._updated.items():
            for group, figures in groups.items():
                yield stream, group, figures


_ALL = (
    metrics.SWEEPER,
    metrics.STREAMS,
    metrics.STREAMS_BEHIND,
    metrics.WAITING,
    metrics.PENDING,
    metrics.OLDEST_SECONDS,
    metrics.DEAD_LETTERS,
    metrics.DEAD_BYTES,
    metrics.SHED,
    metrics.TENANT_UNSETTLED,
    metrics.TENANT_OLDEST_SECONDS,
)


def _waiting(figures: Unsettled) -> int:
    """Return the number of waiting entries, 1 if the server does not know the number."""
    return 1 if figures.waiting is None else figures.waiting

"""How all logs stand, for metrics: what each group has not settled, how old it is, dead letters.

The sweep looks at every log that has news anyway. What it sees of those that are *open* (some group
has not settled all of them) is kept here, and asked after once more for ages; a log that is idle
costs nothing. A bounded number of logs is looked at in one sweep, so that with very many open ones
a figure may be some sweeps old; an age still grows meanwhile.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from heapq import nlargest
from itertools import islice

import redis

from consumers import metrics
from consumers.delivery.group_states import GroupState
from consumers.delivery.lag import Unsettled, unsettled
from streams.keys import TENANT, Keys
from streams.wire import Command, checked, round_trip

KEEP_SECONDS = 180.0
"""How long a log that was not looked at again still counts; an open one is every minute."""
DEAD_AT_ONCE = 500
"""Streams of dead letters counted in one sweep."""
TENANTS = 100
"""Tenants of a group that may become labels, where tenants may at all: those furthest behind."""


class Standing:
    """What the elected sweeper knows of all logs.

    Args:
        tenants: whether the tenants furthest behind are shown by name.
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
        self._looked: dict[bytes, tuple[float, dict[str, Unsettled]]] = {}
        self._dead: dict[bytes, tuple[int, int]] = {}
        """Number and bytes of the dead letters in each stream of them."""
        self._shed = 0

    def look(self, logs: Mapping[bytes, Mapping[str, GroupState | None]]) -> None:
        """Ask after the open groups of these logs; one without any is settled.

        A group is given as the sweep found it; None is yet to be made on the log.

        Raises:
            redis.ConnectionError, redis.TimeoutError: nothing new is known.
        """
        places = [(log, state) for log, groups in logs.items() for state in groups.values()]
        left = iter(unsettled(self._client, places))
        now = self._clock()
        for log, groups in logs.items():
            self._looked.pop(log, None)
            found = {group: each for group in groups if (each := next(left)) is not None}
            if found:
                self._looked[log] = now, found

    def found_dead(self, names: Iterable[bytes]) -> None:
        """Remember streams of dead letters; they are counted in turn."""
        for name in names:
            self._dead.setdefault(name, (0, 0))

    def count(self) -> None:
        """Count what was shed, and the dead letters of some streams, the longest uncounted first.

        Raises:
            redis.RedisError: the server is away or refuses.
        """
        names = list(islice(self._dead, DEAD_AT_ONCE))
        lengths: list[Command] = [("XLEN", name) for name in names]
        sizes: list[Command] = [("MEMORY", "USAGE", name) for name in names]
        shed, *replies = round_trip(self._client, [("HVALS", self._keys.shed()), *lengths, *sizes])
        self._shed = sum(map(int, checked([shed])[0]))
        count = len(names)
        for name, length, size in zip(names, replies[:count], replies[count:], strict=True):
            del self._dead[name]
            if isinstance(length, int) and length:
                self._dead[name] = length, size if isinstance(size, int) else 0

    def publish(self, groups: Sequence[str], logs: int, seconds: float) -> None:
        """Show what is known, for so many seconds; `logs` is how many there are."""
        now = self._clock()
        self._forget(now - KEEP_SECONDS)
        metrics.SWEEPER.publish({(): 1}, seconds)
        metrics.LOGS.publish({(): logs}, seconds)
        metrics.SHED.publish({(): self._shed}, seconds)
        letters, size = map(sum, zip((0, 0), *self._dead.values(), strict=True))
        metrics.DEAD_LETTERS.publish({(): letters}, seconds)
        metrics.DEAD_BYTES.publish({(): size}, seconds)
        behind, waiting, pending = Counter[str](), Counter[str](), Counter[str]()
        oldest = dict.fromkeys(groups, now * 1000)
        for _, found in self._looked.values():
            for group, figures in found.items():
                behind[group] += 1
                waiting[group] += _waiting(figures)
                pending[group] += figures.pending
                oldest[group] = min(oldest.get(group, now * 1000), figures.oldest_ms)
        for gauge, counts in (
            (metrics.LOGS_BEHIND, behind),
            (metrics.WAITING, waiting),
            (metrics.PENDING, pending),
        ):
            gauge.publish({(group,): counts[group] for group in oldest}, seconds)
        # Clocks of hosts differ, and floats round: an age is never below 0.
        ages = {(group,): max(0.0, now - at / 1000) for group, at in oldest.items()}
        metrics.OLDEST_SECONDS.publish(ages, seconds)
        if self._tenants:
            self._publish_tenants(now, seconds)

    def withdraw(self) -> None:
        """Somebody else sweeps: forget all, and show nothing."""
        self._looked.clear()
        self._dead.clear()
        for gauge in _ALL:
            gauge.withdraw()

    def _forget(self, before: float) -> None:
        """Forget logs that are gone: they were not looked at for long. They are in that order."""
        while self._looked and next(iter(self._looked.values()))[0] < before:
            del self._looked[next(iter(self._looked))]

    def _publish_tenants(self, now: float, seconds: float) -> None:
        by_group: dict[str, list[tuple[int, str, int]]] = {}
        for log, (_, groups) in self._looked.items():
            tenant = self._keys.tenant_of(log.decode(errors="replace"))
            if not TENANT.match(tenant):
                continue  # anybody who may XADD chooses that name; no label is made of it
            for group, figures in groups.items():
                count = _waiting(figures) + figures.pending
                by_group.setdefault(group, []).append((-figures.oldest_ms, tenant, count))
        entries, ages = {}, {}
        for group, found in by_group.items():
            for minus_ms, tenant, count in nlargest(TENANTS, found):
                entries[group, tenant] = float(count)
                ages[group, tenant] = max(0.0, now + minus_ms / 1000)
        metrics.TENANT_UNSETTLED.publish(entries, seconds)
        metrics.TENANT_OLDEST_SECONDS.publish(ages, seconds)


_ALL = (
    metrics.SWEEPER,
    metrics.LOGS,
    metrics.LOGS_BEHIND,
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
    """Give how many wait, one where the server cannot tell: it is one at least."""
    return 1 if figures.waiting is None else figures.waiting

"""Bounds on how much is read at once, so that a consumer's memory stays bounded.

Entries differ in size by a factor of a million, and the server delivers by number, not by size. So
a tenant's stream is measured before it is read. A *light* stream, the usual case, holds at most
`LIGHT_BYTES` altogether. Of a *heavy* one a script reads as many entries as fit into that, at least
one. A *portion* is the tenants that are read together. Used by `consumers.delivery.groups`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files
from typing import Any, NamedTuple

import redis

from consumers.round_trips import round_trips
from streams.keys import Keys
from streams.wire import as_bytes

LIGHT_BYTES = 16 * 1024 * 1024
"""Approximate bytes of one tenant's entries held at once; a larger entry is read alone. Usual
batches have a few megabytes and are not divided."""
PORTION_BYTES = 2 * LIGHT_BYTES
"""Approximate bytes of several tenants' entries held at once."""
MEASURE_SECONDS = 1.0
"""The time for which a stream is not measured again."""
REMEMBERED = 10_000
"""The number of measurements after which all are forgotten."""
UNEVEN = 4
"""The factor by which the next entries are assumed to exceed the stream's average. If they
exceed it by more, a portion is too large, but never larger than its streams, which are light."""


class _Measured(NamedTuple):
    until: float
    size: int
    """Bytes of the whole stream."""
    average: float
    """Bytes of an entry."""


class Portions:
    """Sizes of tenants' streams, and the division of tenants into portions.

    Args:
        clock: returns monotonic seconds.
    """

    def __init__(
        self, client: redis.Redis, keys: Keys, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._keys = keys
        self._clock = clock
        self._known: dict[str, _Measured] = {}
        script = files("consumers.delivery").joinpath("read_heavy.lua").read_text(encoding="utf-8")
        # Runs one at a time; `streams.scripts.Script` is for many runs in one round trip.
        self._read_heavy = client.register_script(script)

    def of(self, tenants: Sequence[str], quantum: int) -> Iterator[list[str]]:
        """Divide tenants into portions, if up to `quantum` entries of each tenant are read.

        A heavy tenant is a portion by itself.

        Raises:
            redis.RedisError: Redis is unavailable.
        """
        self._measure(tenants)
        portion, taken = list[str](), 0.0
        for tenant in tenants:
            if self.is_heavy(tenant):
                yield [tenant]
                continue
            needed = self._needed(tenant, quantum)
            if portion and taken + needed > PORTION_BYTES:
                yield portion
                portion, taken = [], 0.0
            portion.append(tenant)
            taken += needed
        if portion:
            yield portion

    def is_heavy(self, tenant: str) -> bool:
        """Return whether the tenant's stream may hold more than one read should return.

        It uses the last measurement, however old: call `of` or `measure` first.
        """
        known = self._known.get(tenant)
        return known is not None and known.size > LIGHT_BYTES

    def measure(self, tenant: str) -> None:
        """Measure one tenant's stream, if the last measurement is too old.

        Raises:
            redis.RedisError: Redis is unavailable.
        """
        self._measure([tenant])

    def read_heavy(self, tenant: str, group: str, consumer: str, count: int) -> Any:
        """Deliver new entries of a heavy tenant, and return the reply of XREADGROUP.

        Raises:
            redis.ResponseError: as XREADGROUP does.
        """
        stream = as_bytes(self._keys.stream(tenant))
        return self._read_heavy(keys=[stream], args=[group, consumer, count, LIGHT_BYTES])

    def _measure(self, tenants: Sequence[str]) -> None:
        now = self._clock()
        if len(self._known) > REMEMBERED:
            self._known.clear()
        old = [name for name in tenants if name not in self._known or self._known[name].until < now]
        streams = [self._keys.stream(name) for name in old]
        commands = [
            command
            for name in streams
            for command in (("MEMORY", "USAGE", name, "SAMPLES", 0), ("XLEN", name))
        ]
        replies = round_trips(self._client, commands, partial=True)
        for tenant, size, length in zip(old, replies[::2], replies[1::2], strict=True):
            # If the server refuses the command, or is a lost node of a cluster, streams are read
            # regardless of their sizes.
            known = size if isinstance(size, int) else 0
            entries = length if isinstance(length, int) else 0
            average = known / max(1, entries)
            self._known[tenant] = _Measured(now + MEASURE_SECONDS, known, average)

    def _needed(self, tenant: str, quantum: int) -> float:
        known = self._known.get(tenant)
        return 0.0 if known is None else min(known.size, UNEVEN * quantum * known.average)

"""The list of tenants that have dead letters, so that no reader has to scan for them.

`consumers.dead_letters.writer` adds a tenant with each letter. Used by `consumers.chores.samples`,
which keeps the list correct, and by `ops.doctor` and `ops.operator_view`, which count letters, and
also by `ops.tasks.dead_letters.view`.
"""

from __future__ import annotations

from collections.abc import Sequence

import redis

from consumers.dead_letters.limits import Limits, drop_old
from consumers.dead_letters.store import DeadLetterStore
from consumers.faults import is_of_key
from consumers.round_trips import round_trips
from streams.cluster import is_lost
from streams.discovery import START, scan_streams
from streams.keys import DEAD_END, Keys
from streams.wire import as_text, ask, checked

COUNTED_AT_ONCE = 1_000
"""Tenants of the list whose letters are counted in one run."""
SCAN_CALLS = 20
"""SCAN commands in one run, for letters of tenants that are not in the list."""


class DeadTenants:
    """The list of tenants with dead letters; each run does a bounded amount of work."""

    def __init__(self, client: redis.Redis, keys: Keys, limits: Limits | None = None) -> None:
        self._client = client
        self._keys = keys
        self._limits = limits or Limits()
        self._store = DeadLetterStore(client, keys=keys)
        self.restart()

    def restart(self) -> None:
        """Start the scan from the beginning, after another consumer maintained the list."""
        self._cursor = START

    def maintain(self, now: int) -> int:
        """Add tenants that are not listed, and remove those that have no letters any more.

        Return the number of letters of the tenants that are counted.

        Letters beyond the limits are dropped, and letters of an earlier version are merged. `now`
        is the server's clock in milliseconds since 1970.

        Raises:
            redis.RedisError: Redis is unavailable or refuses the command.
        """
        listed = self._keys.dead_tenants()
        self._discover(listed, now)
        tenants = ask(self._client, "ZREVRANGE", listed, 0, COUNTED_AT_ONCE - 1)
        counts = self._counts(tenants)
        if gone := [name for name in tenants if not counts[name]]:
            ask(self._client, "ZREM", listed, *gone)
            # A letter may have been written just before the ZREM: count again after it.
            for name, count in self._counts(gone).items():
                if count:
                    ask(self._client, "ZADD", listed, now, name)
        left = [as_text(name) for name in tenants if name not in set(gone)]
        for tenant in left:
            self._store.adopt(tenant)
        drop_old(self._client, self._keys, left, self._limits)
        return sum(counts.values())

    def _discover(self, listed: str, now: int) -> None:
        start, end = self._keys.dead("*").split("*")
        for _ in range(SCAN_CALLS):
            self._cursor, names = scan_streams(
                self._client, self._cursor, self._keys.pattern(DEAD_END)
            )
            for name in names:
                tenant = name.removeprefix(start.encode()).removesuffix(end.encode())
                ask(self._client, "ZADD", listed, "NX", now, tenant)
            if self._cursor == START:
                return

    def _counts(self, tenants: Sequence[bytes]) -> dict[bytes, int]:
        """Return the number of dead letters by tenant."""
        counts = dead_counts(self._client, list(map(as_text, tenants)), self._keys)
        return dict(zip(tenants, counts, strict=True))


def dead_counts(
    client: redis.Redis, tenants: Sequence[str], keys: Keys, *, partial: bool = False
) -> list[int]:
    """Return the number of each tenant's dead letters; 0 if the key has another type.

    With `partial` it is also 0 if the key's node of a cluster is lost.

    Raises:
        redis.RedisError: Redis is unavailable or refuses the command.
    """
    commands = (("XLEN", keys.dead(tenant)) for tenant in tenants)
    replies = round_trips(client, commands, partial=partial)
    return [
        0 if is_of_key(reply) or (partial and is_lost(reply)) else checked([reply])[0]
        for reply in replies
    ]

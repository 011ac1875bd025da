"""Which tenants have dead letters: noted when one is buried, so that nobody searches for them."""

from __future__ import annotations

import time
from collections.abc import Sequence

import redis

from consumers.dead_letters.buried_entries import Graveyard
from consumers.dead_letters.letters import DeadLetters, Limits, drop_old
from consumers.delivery.groups import Delivery
from consumers.faults import is_of_key
from consumers.round_trips import round_trips, text_of
from streams.discovery import START, scan_streams
from streams.keys import Keys
from streams.wire import ask, checked

EXAMINE = 1_000
"""Tenants that are looked at in one turn for whether they still have any."""
SCAN_CALLS = 20
"""SCANs in one turn, for letters that nobody noted."""


class NotedDeadLetters(DeadLetters):
    """Buries, and notes whose the letter is."""

    def bury(self, delivery: Delivery, reason: str, detail: str) -> None:
        """Bury one entry; a note that is lost is made up for by `DeadTenants`."""
        super().bury(delivery, reason, detail)
        now = time.time_ns() // 1_000_000
        ask(self._client, "ZADD", self._keys.dead_tenants(), now, delivery.tenant)


class DeadTenants:
    """The notes as one consumer tends them, a bounded number of tenants a turn."""

    def __init__(self, client: redis.Redis, keys: Keys, limits: Limits | None = None) -> None:
        self._client = client
        self._keys = keys
        self._limits = limits or Limits()
        self._graveyard = Graveyard(client, keys=keys)
        self.forget()

    def forget(self) -> None:
        """Begin the search anew: somebody else tended them meanwhile."""
        self._cursor = START

    def tend(self, now: int) -> None:
        """Find tenants that are not noted, and strike off those that have no letters any more.

        What others have beyond the limits is dropped, and letters of an earlier version adopted.
        """
        noted = self._keys.dead_tenants()
        self._find(noted, now)
        tenants = ask(self._client, "ZREVRANGE", noted, 0, EXAMINE - 1)
        if gone := self._among(tenants, dead=False):
            ask(self._client, "ZREM", noted, *gone)
            # One that was buried just then had its note removed: look again after it.
            for name in self._among(gone, dead=True):
                ask(self._client, "ZADD", noted, now, name)
        left = [text_of(name) for name in tenants if name not in set(gone)]
        for tenant in left:
            self._graveyard.adopt(tenant)
        drop_old(self._client, self._keys, left, self._limits)

    def _find(self, noted: str, now: int) -> None:
        start, end = self._keys.dead("*").split("*")
        for _ in range(SCAN_CALLS):
            self._cursor, names = scan_streams(self._client, self._cursor, f"{start}*{end}")
            for name in names:
                tenant = name.removeprefix(start.encode()).removesuffix(end.encode())
                ask(self._client, "ZADD", noted, "NX", now, tenant)
            if self._cursor == START:
                return

    def _among(self, tenants: Sequence[bytes], *, dead: bool) -> list[bytes]:
        """Give those of the tenants that have dead letters, or that have none."""
        counts = dead_counts(self._client, list(map(text_of, tenants)), self._keys)
        return [name for name, count in zip(tenants, counts, strict=True) if bool(count) == dead]


def dead_counts(client: redis.Redis, tenants: Sequence[str], keys: Keys) -> list[int]:
    """Return how many dead letters each of these tenants has; none where there is another key."""
    replies = round_trips(client, (("XLEN", keys.dead(tenant)) for tenant in tenants))
    return [0 if is_of_key(reply) else checked([reply])[0] for reply in replies]

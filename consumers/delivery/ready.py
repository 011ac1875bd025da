"""The ready queue: which tenants have something to read.

A *mark* says that a tenant's log may hold entries that the group has not had; appends and the sweep
set it. A *lease* is a mark in the hands of one consumer; it runs out by itself, so that a crash
gives the tenant back. Any consumer may take any tenant, and several may hold one: the fold makes
that harmless. Marks are hints, never the truth; a lost one is found by the sweep.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import NamedTuple

import redis

from streams.keys import Keys
from streams.wire import as_bytes, ask


class Lease(NamedTuple):
    """Tenants that this consumer may read, until `expires` (server's milliseconds since 1970)."""

    expires: int
    tenants: Sequence[str]


class ReadyQueue:
    """One group's ready queue."""

    def __init__(
        self,
        client: redis.Redis,
        group: str,
        *,
        keys: Keys | None = None,
        lease_seconds: float = 30,
    ) -> None:
        keys = keys or Keys()
        self._client = client
        self._names = [keys.ready(group), keys.leased(group)]
        self._lease_ms = int(lease_seconds * 1000)
        self._take = client.register_script(_script("ready_take.lua"))
        self._finish = client.register_script(_script("ready_finish.lua"))

    def take(self, limit: int, block_seconds: float) -> Lease:
        """Lease up to `limit` tenants, the longest marked first; wait a while where there are none.

        A crash between waking up and leasing loses one mark, which the sweep finds.
        """
        lease = self._leased(limit, b"")
        if lease.tenants or block_seconds <= 0:
            return lease
        woken = ask(self._client, "BZPOPMIN", self._names[0], block_seconds)
        return self._leased(limit - 1, woken[1]) if woken else lease

    def finish(self, lease: Lease, more: Sequence[str]) -> None:
        """Hand the lease back; tenants that have more to read go to the tail."""
        if lease.tenants:
            names = [*more, *(set(lease.tenants) - set(more))]
            self._finish(keys=self._names, args=[lease.expires, len(more), *map(as_bytes, names)])

    def mark(self, tenants: Sequence[str]) -> None:
        """Mark tenants that have more to read; one that is marked stays where it is."""
        if tenants:
            # No lease ends at 0: the script only marks.
            self._finish(keys=self._names, args=[0, len(tenants), *map(as_bytes, tenants)])

    def _leased(self, limit: int, first: bytes) -> Lease:
        expires, *tenants = self._take(keys=self._names, args=[limit, self._lease_ms, first])
        return Lease(
            int(float(expires)), [name.decode(errors="surrogateescape") for name in tenants]
        )


def _script(name: str) -> str:
    return files("consumers.delivery").joinpath(name).read_text(encoding="utf-8")

"""The queues of tenants in Redis, one of each kind a consumer group; only here by key name.

- *ready*: tenants whose stream may hold entries that were not delivered to the group. Each member
  is a *ready mark*, set by appends and by the sweep.
- *leased*: ready marks in the hands of a consumer. A *lease* expires by itself, so that the tenants
  of a consumer that died become ready again.
- *stale*: tenants with deliveries that became old, found by the sweep, to be taken over.

Any consumer may lease any tenant, and several may hold the same one: the fold makes that harmless.
The queues are hints: the sweep finds a tenant whose mark was lost. Used by `consumers.loop`,
`consumers.chores` and `consumers.dead_letters`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import NamedTuple

import redis

from streams.cluster import keys_of
from streams.keys import Keys
from streams.wire import Command, as_bytes, as_text, ask, checked, round_trip


class Lease(NamedTuple):
    """Tenants that this consumer may read, until `expires` (server's milliseconds since 1970)."""

    expires: int
    tenants: Sequence[str]


class ReadyQueue:
    """One group's ready marks and leases.

    Args:
        lease_seconds: the time after which a lease expires.
    """

    def __init__(
        self,
        client: redis.Redis,
        group: str,
        *,
        keys: Keys | None = None,
        lease_seconds: float = 30,
    ) -> None:
        keys = keys or keys_of(client)
        self._client = client
        self._names = [keys.ready(group), keys.leased(group)]
        self._lease_ms = int(lease_seconds * 1000)
        self._take = client.register_script(_script("ready_take.lua"))
        self._finish = client.register_script(_script("ready_finish.lua"))

    def take(self, limit: int, block_seconds: float) -> Lease:
        """Lease up to `limit` tenants, the longest marked first.

        If none is marked, wait for the first mark, up to `block_seconds`. A crash between the
        end of that wait and the lease loses one mark, which the sweep finds.

        Raises:
            redis.RedisError: Redis is unavailable or refuses the command.
        """
        lease = self._leased(limit, b"")
        if lease.tenants or block_seconds <= 0:
            return lease
        woken = ask(self._client, "BZPOPMIN", self._names[0], block_seconds)
        return self._leased(limit - 1, woken[1]) if woken else lease

    def finish(self, lease: Lease, more: Sequence[str]) -> None:
        """End the lease; tenants that have more to read are marked again, at the tail.

        Raises:
            redis.RedisError: Redis is unavailable or refuses; the lease expires by itself.
        """
        if lease.tenants:
            names = [*more, *(set(lease.tenants) - set(more))]
            self._finish(keys=self._names, args=[lease.expires, len(more), *map(as_bytes, names)])

    def mark(self, tenants: Sequence[str]) -> None:
        """Mark tenants that have more to read; an existing mark keeps its place.

        Raises:
            redis.RedisError: Redis is unavailable or refuses the command.
        """
        if tenants:
            # No lease expires at 0, so the script ends none.
            self._finish(keys=self._names, args=[0, len(tenants), *map(as_bytes, tenants)])

    def _leased(self, limit: int, first: bytes) -> Lease:
        expires, *tenants = self._take(keys=self._names, args=[limit, self._lease_ms, first])
        return Lease(int(float(expires)), list(map(as_text, tenants)))


class StaleQueue:
    """One group's tenants with deliveries to take over."""

    def __init__(self, client: redis.Redis, group: str, keys: Keys) -> None:
        self._client = client
        self._name = keys.stale(group)

    def take(self, limit: int) -> list[str]:
        """Remove up to `limit` tenants and return them; no other consumer gets them.

        Raises:
            redis.RedisError: Redis is unavailable or refuses the command.
        """
        return list(map(as_text, ask(self._client, "ZPOPMIN", self._name, limit)[::2]))


def add_stale(keys: Keys, places: Sequence[tuple[str, str]]) -> Iterator[Command]:
    """Build the commands that queue tenants as stale for groups; `places` are (group, tenant)."""
    now = time.time_ns() // 1_000_000
    for group, tenant in places:
        yield "ZADD", keys.stale(group), "NX", now, tenant


def shortest_ready(client: redis.Redis, groups: Sequence[str], keys: Keys) -> int:
    """Return the length of the shortest of the groups' ready queues.

    Raises:
        redis.RedisError: Redis is unavailable or refuses the command.
    """
    lengths: list[Command] = [("ZCARD", keys.ready(group)) for group in groups]
    return int(min(checked(round_trip(client, lengths))))


def queued_tenants(client: redis.Redis, groups: Sequence[str], keys: Keys, limit: int) -> set[str]:
    """Return the first `limit` tenants of each queue of the groups.

    Raises:
        redis.RedisError: Redis is unavailable or refuses the command.
    """
    queues: list[Command] = [
        ("ZRANGE", name, 0, limit - 1) for group in groups for name in queue_keys(keys, group)
    ]
    return {as_text(name) for names in checked(round_trip(client, queues)) for name in names}


def ready_keys(keys: Keys, groups: Sequence[str]) -> list[str]:
    """Return the keys of the groups' ready queues, for a script that marks a tenant."""
    return list(map(keys.ready, groups))


def queue_keys(keys: Keys, group: str) -> tuple[str, str, str]:
    """Return the keys of a group's ready, leased and stale queues."""
    return keys.ready(group), keys.leased(group), keys.stale(group)


def _script(name: str) -> str:
    return files("consumers.delivery").joinpath(name).read_text(encoding="utf-8")

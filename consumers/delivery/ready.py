"""The queues of tenants in Redis, one of each kind a consumer group; only here by key name.

- *ready*: tenants whose stream may hold entries that were not delivered to the group. Each member
  is a *ready mark*, set by appends and by the sweep.
- *leased*: ready marks in the hands of a consumer. A *lease* expires by itself, so that the tenants
  of a consumer that died become ready again.
- *stale*: tenants with deliveries that became old, found by the sweep, to be taken over.

Any consumer may lease any tenant, and several may hold the same one: the fold makes that harmless.
The queues are hints: the sweep finds a tenant whose mark was lost. On a cluster each node has a
ready queue with its leases, so that those of other nodes work while one is lost. Used by
`consumers.chores`, `consumers.composition`, `consumers.dead_letters` and `consumers.loop`.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from importlib.resources import files
from typing import NamedTuple

import redis

from consumers.delivery.ready_waits import waits_of
from streams.cluster import checked_served, is_lost, keys_of
from streams.keys import ClusterKeys, Keys, QueueKeys
from streams.scripts import Run, Script
from streams.wire import Command, as_bytes, as_text, ask, checked, round_trip


class QueueLease(NamedTuple):
    """Tenants that this consumer may read until `expires`, and the queue that they are from."""

    queue: QueueKeys
    expires: int
    """Milliseconds since 1970, by the clock of the queue's server."""
    tenants: Sequence[str]


class Lease(NamedTuple):
    """Tenants that this consumer may read."""

    tenants: Sequence[str]
    parts: Sequence[QueueLease]
    """The same by ready queue; on a cluster each node has one."""


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
        self._keys = keys or keys_of(client)
        self._client = client
        self._group = group
        self._waits = waits_of(client)
        self._lease_ms = int(lease_seconds * 1000)
        self._take = Script(_script("ready_take.lua"))
        self._finish = Script(_script("ready_finish.lua"))

    def take(self, limit: int, block_seconds: float) -> Lease:
        """Lease up to `limit` tenants, the longest marked first.

        If none is marked, wait for the first mark, up to `block_seconds`. A crash between the
        end of that wait and the lease loses one mark, which the sweep finds. On a cluster, where
        each node has a queue, some more than `limit` may be leased, and a lost node is skipped.

        Raises:
            redis.RedisError: Redis is unavailable or refuses the command.
        """
        lease = self._leased(limit, self._waits.collect())
        if lease.tenants or block_seconds <= 0:
            return lease
        woken = self._waits.wait(self._keys.queues(self._group), block_seconds)
        return self._leased(limit, woken) if woken else lease

    def finish(self, lease: Lease, more: Sequence[str]) -> None:
        """End the lease; tenants that have more to read are marked again, at the tail.

        Raises:
            redis.RedisError: Redis is unavailable or refuses; the lease expires by itself.
        """
        again = set(more)
        runs = [
            self._end(part.queue, part.expires, [name for name in more if name in tenants], rest)
            for part in lease.parts
            if (tenants := set(part.tenants))
            for rest in [tenants - again]
        ]
        left = again.difference(lease.tenants)
        marks = self._marks([name for name in more if name in left])
        self._hint([*runs, *marks])

    def mark(self, tenants: Sequence[str]) -> None:
        """Mark tenants that have more to read; an existing mark keeps its place.

        Raises:
            redis.RedisError: Redis is unavailable or refuses the command.
        """
        self._hint(self._marks(tenants))

    def _marks(self, tenants: Sequence[str]) -> list[Run]:
        """Return the runs that mark tenants."""
        by_queue: dict[QueueKeys, list[str]] = {}
        for tenant in tenants:
            by_queue.setdefault(self._keys.queue_of(self._group, tenant), []).append(tenant)
        # No lease expires at 0, so the script ends none.
        return [self._end(queue, 0, names, ()) for queue, names in by_queue.items()]

    def _end(
        self, queue: QueueKeys, expires: int, more: Sequence[str], rest: Collection[str]
    ) -> Run:
        return queue, [expires, len(more), *map(as_bytes, more), *map(as_bytes, rest)]

    def _leased(self, limit: int, popped: Mapping[QueueKeys, bytes]) -> Lease:
        """Lease tenants of all queues; `popped` has tenants whose marks were removed already."""
        queues = list({**dict.fromkeys(self._keys.queues(self._group)), **popped})
        share = -(-limit // len(queues))
        runs: list[Run] = [
            (queue, [share - (queue in popped), self._lease_ms, popped.get(queue, b"")])
            for queue in queues
        ]
        replies = self._take.run(self._client, runs, partial=True)
        if all(isinstance(reply, redis.RedisError) for reply in replies):
            checked(replies)
        parts = [
            # Numbers of Lua are floats, and may be written with an exponent.
            QueueLease(queue, int(float(reply[0])), list(map(as_text, reply[1:])))
            for queue, reply in zip(queues, replies, strict=True)
            if not isinstance(reply, redis.RedisError)
        ]
        return Lease([name for part in parts for name in part.tenants], parts)

    def _hint(self, runs: Sequence[Run]) -> None:
        """End leases and set marks, except those of lost nodes, which the sweep replaces."""
        replies = self._finish.run(self._client, runs, partial=True) if runs else []
        if all(isinstance(reply, redis.RedisError) for reply in replies):
            checked_served(replies)


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
    queues = [(group, queue.ready) for group in groups for queue in keys.queues(group)]
    commands: list[Command] = [("ZCARD", name) for _, name in queues]
    lengths = checked_served(round_trip(client, commands, partial=True))
    totals = dict.fromkeys(groups, 0)
    for (group, _), length in zip(queues, lengths, strict=True):
        totals[group] += 0 if is_lost(length) else length
    return min(totals.values())


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
    """Return the keys of the groups' ready queues, for a script that marks a tenant.

    There are none on a cluster, where a script has the keys of one slot.
    """
    return [] if isinstance(keys, ClusterKeys) else list(map(keys.ready, groups))


def queue_keys(keys: Keys, group: str) -> list[str]:
    """Return the keys of a group's ready, leased and stale queues."""
    return [*(name for queue in keys.queues(group) for name in queue), keys.stale(group)]


def _script(name: str) -> str:
    return files("consumers.delivery").joinpath(name).read_text(encoding="utf-8")

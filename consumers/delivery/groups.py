"""A consumer group as one of its consumers uses it: read, acknowledge, take over, leave.

A delivered entry is *pending* until it is acknowledged. Groups are created before the first entry
of a stream, so that a group that is created late, or again after a flush, reads everything. Used by
`consumers.loop`, which reads and acknowledges, and by `consumers.dead_letters.trials`, which needs
the delivery counters, and also by `consumers.composition`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from importlib.resources import files
from itertools import chain
from typing import Any

import redis

from consumers import metrics
from consumers.delivery import group_commands
from consumers.delivery.batch_size import LIGHT_BYTES, Portions
from consumers.delivery.deliveries import Claimed, Delivery, deliveries_of, ids_by_tenant
from consumers.delivery.read_requests import ReadRequest, Received
from consumers.delivery.refused_tenants import READING, RefusedTenants
from consumers.delivery.tenants_aside import TenantsAside
from consumers.faults import is_of_key
from streams.cluster import Cluster, checked_served, keys_of
from streams.keys import Keys
from streams.scripts import Script
from streams.wire import Command, PendingReplies, as_text, ask, round_trip

ALIVE_SECONDS = 30
"""The time after which a silent consumer no longer counts as alive."""
CLAIM_COUNT = 100
"""Entries of a light stream that one command takes over."""


class ConsumerGroup:
    """One group, as one of its consumers uses it."""

    def __init__(
        self, client: redis.Redis, group: str, consumer: str, *, keys: Keys | None = None
    ) -> None:
        self.group = group
        self.consumer = consumer
        self._client = client
        self._keys = keys or keys_of(client)
        self._joined: set[str] = set()
        """Tenants whose groups may have this consumer."""
        self._unsettled: set[str] = set()
        """Those of them whose streams may have entries pending for this consumer."""
        self._leave = Script(files(__package__).joinpath("leave.lua").read_text(encoding="utf-8"))
        self.refused = RefusedTenants(group)
        """Tenants whose keys the server refused."""
        self.aside = TenantsAside(group, enabled=isinstance(client, Cluster))
        """Tenants whose node of a cluster is lost; entries may be pending for this consumer."""
        self.portions = Portions(client, self._keys)
        """The sizes of tenants' streams."""

    def register(self) -> None:
        """Register the group for the sweep and for retention, and report this consumer as alive.

        Raises:
            redis.RedisError: Redis is unavailable or refuses the command.
        """
        alive = ("SET", self._keys.consumer(self.group, self.consumer), 1, "EX", ALIVE_SECONDS)
        commands: list[Command] = [("SADD", self._keys.groups(), self.group), alive]
        checked_served(round_trip(self._client, commands, partial=True))

    def read(self, tenants: Sequence[str], count: int) -> list[Delivery]:
        """Deliver up to `count` new entries per tenant; create the group if it is missing.

        Never retried: what a lost reply delivered is pending, and taken over in time. Raises what
        `request` raises.
        """
        return self.request(tenants, count).receive().deliveries

    def request(self, tenants: Sequence[str], count: int) -> ReadRequest:
        """Request up to `count` new entries per tenant, and return the request.

        The entries of a heavy tenant are delivered when `receive` is called, because they are many
        bytes. A tenant whose stream is refused is paused, and one whose node is lost is set aside.

        Raises:
            redis.ConnectionError, redis.TimeoutError: entries may have been delivered.
            redis.ResponseError: the server refuses for a reason that concerns no tenant's stream.
        """
        unread = {tenant for tenant in tenants if tenant not in self._joined}
        self._joined |= unread
        self._unsettled.update(tenants)
        if len(tenants) == 1 and self.portions.is_heavy(tenants[0]):
            heavy = partial(self._read_heavy, tenants[0], count)
            return ReadRequest(lambda: self._received(tenants, count, 1, [heavy()], unread))
        # One command each: an error of one stream would be the reply to all streams of its command.
        commands = [self._read_command(name, count) for name in tenants]
        sent = PendingReplies(self._client, commands, partial=True)
        return ReadRequest(
            lambda: self._received(tenants, count, count, sent.replies(), unread), sent
        )

    def _received(
        self, tenants: Sequence[str], count: int, fills: int, replies: list[Any], unread: set[str]
    ) -> Received:
        """Return what the replies deliver.

        A tenant of which at least `fills` entries were delivered may have more.
        """
        received = Received([], [])
        without_group: list[str] = []
        for tenant, reply in zip(tenants, replies, strict=True):
            if _has_no_group(reply):
                without_group.append(tenant)
            elif self._accepted(tenant, reply) and reply:
                ((_, entries),) = reply
                received.deliveries.extend(deliveries_of(tenant, entries))
                if len(entries) >= fills:
                    received.filled.append(tenant)
        if without_group and (created := self._create(without_group, unread)):
            # Divided again: streams may have grown since the request.
            first, *others = self.portions.of(created, count)
            again = self.request(first, count).receive()
            received.deliveries.extend(again.deliveries)
            received.filled.extend(chain(again.filled, *others))
        return received

    def read_again(
        self, count: int, tenants: Iterable[str] | None = None
    ) -> Iterator[list[Delivery]]:
        """Yield batches of the entries that are pending for this consumer; None for all tenants.

        Such entries exist after a reply was lost: the server has delivered them, and the consumer
        has not received them. Each entry is yielded once, whether it is settled meanwhile or not.
        At most `count` entries of a tenant are in one batch. Before all tenants are read, requests
        must be given up or received: later recoveries leave out those for which nothing is pending.

        Raises:
            redis.RedisError: Redis is unavailable or refuses the command.
        """
        chosen = sorted(self._unsettled if tenants is None else tenants)
        for portion in self.portions.of(chosen, count):
            heavy = any(map(self.portions.is_heavy, portion))
            after = dict.fromkeys(portion, b"0")
            while after:
                found = self._pending_after(after, 1 if heavy else count, settle=tenants is None)
                after = {tenant: entries[-1][0] for tenant, entries in found.items() if entries}
                if batch := [
                    delivery
                    for tenant, entries in found.items()
                    for delivery in deliveries_of(tenant, entries)
                ]:
                    yield batch

    def _pending_after(
        self, after: dict[str, bytes], count: int, *, settle: bool
    ) -> dict[str, Any]:
        """Return each tenant's next entries that are pending for this consumer.

        Args:
            after: by tenant, the last entry returned.
            count: the most entries of one tenant.
            settle: True to have the next recovery leave out tenants without pending entries.
        """
        commands = [self._read_command(name, count, last) for name, last in after.items()]
        replies = round_trip(self._client, commands, partial=True)
        found = {}
        for (tenant, last), reply in zip(after.items(), replies, strict=True):
            if self._accepted(tenant, reply) and reply:
                found[tenant] = reply[0][1]
            # So that the next recovery reads neither deleted tenants nor those without traffic.
            nothing = _has_no_group(reply) or (last == b"0" and found.get(tenant) == [])
            if settle and nothing:
                self._unsettled.discard(tenant)
        return found

    def acknowledge(self, deliveries: Iterable[Delivery]) -> list[str]:
        """Acknowledge deliveries whose effect is stored; return the tenants of the others.

        Raises:
            redis.RedisError: Redis is unavailable, or refuses for a reason that concerns no tenant.
        """
        return self._for_each_tenant(
            deliveries, lambda stream, ids: group_commands.acknowledge(stream, self.group, ids)
        )

    def renew(self, deliveries: Iterable[Delivery]) -> None:
        """Keep deliveries from being taken over for another reclaim time.

        The delivery counters do not change.

        Raises:
            redis.RedisError: Redis is unavailable, or refuses for a reason that concerns no tenant.
        """
        self.release(deliveries, 0)

    def release(self, deliveries: Iterable[Delivery], idle_seconds: float) -> None:
        """Set the idle time of deliveries.

        If `idle_seconds` is the reclaim time, other consumers take them over at once. The delivery
        counters do not change; entries that are no longer pending are skipped.

        Raises:
            redis.RedisError: Redis is unavailable, or refuses for a reason that concerns no tenant.
        """
        me, idle_ms = (self.group, self.consumer), int(idle_seconds * 1000)
        self._for_each_tenant(
            deliveries, lambda stream, ids: group_commands.renew(stream, *me, ids, idle_ms)
        )

    def delivery_counters(self, tenant: str, deliveries: Sequence[Delivery]) -> list[int | None]:
        """Return the server's delivery counter of each of a tenant's deliveries.

        None stands for an entry that is no longer pending, or whose counter the server refuses to
        return, as of a group that is gone.

        Raises:
            redis.ConnectionError, redis.TimeoutError: Redis is unavailable.
        """
        stream = self._keys.stream(tenant)
        replies = round_trip(
            self._client,
            [group_commands.pending_entry(stream, self.group, each.id) for each in deliveries],
        )
        return [
            reply[0][3] if reply and not isinstance(reply, redis.ResponseError) else None
            for reply in replies
        ]

    def has_pending(self, delivery: Delivery) -> bool:
        """Return whether an entry is pending for this consumer; raises as `leave` does."""
        which = (self._keys.stream(delivery.tenant), self.group, delivery.id)
        rows = ask(self._client, *group_commands.pending_entry(*which))
        return bool(rows) and as_text(rows[0][1]) == self.consumer

    def set_delivery_counter(self, delivery: Delivery, count: int) -> None:
        """Set the server's delivery counter of a pending entry.

        Raises:
            redis.RedisError: Redis is unavailable or refuses the command.
        """
        stream = self._keys.stream(delivery.tenant)
        me = (self.group, self.consumer)
        ask(self._client, *group_commands.set_counter(stream, *me, delivery.id, count))

    def claim(self, tenant: str, min_idle_seconds: float, limit: int = 1_000) -> Claimed:
        """Take over a tenant's entries that have been pending for so many seconds.

        It ends early after `limit` entries, or as many bytes as are held at once; call it again.

        Raises:
            redis.RedisError: Redis is unavailable, or refuses for a reason that concerns no tenant.
        """
        claimed, size = Claimed([], 0), 0
        idle_ms, cursor = int(min_idle_seconds * 1000), b"0-0"
        me = (self._keys.stream(tenant), self.group, self.consumer)
        self.portions.measure(tenant)
        count = 1 if self.portions.is_heavy(tenant) else CLAIM_COUNT
        # Before the command: if its reply is lost, the entries are pending for this consumer.
        self._joined.add(tenant)
        self._unsettled.add(tenant)
        while True:
            command = group_commands.claim_idle(*me, idle_ms, cursor=cursor, count=count)
            (reply,) = round_trip(self._client, [command], partial=True)
            if not self._accepted(tenant, reply):
                return claimed
            cursor, entries, deleted = reply
            claimed = Claimed(
                claimed.deliveries + deliveries_of(tenant, entries), claimed.deleted + len(deleted)
            )
            size += sum(len(text) for _, fields in entries for text in fields or ())
            if cursor == b"0-0" or len(claimed.deliveries) >= limit or size >= LIGHT_BYTES:
                return claimed

    def leave(self) -> None:
        """Delete this consumer from every stream where nothing is pending for it.

        On other streams its pending entries would be lost with it; other consumers take them over.

        Raises:
            redis.RedisError: Redis is unavailable or refuses the command.
        """
        ask(self._client, "DEL", self._keys.consumer(self.group, self.consumer))
        me = (self.group, self.consumer)
        runs = [([self._keys.stream(tenant)], me) for tenant in sorted(self._joined)]
        if runs:
            self._leave.run(self._client, runs)

    def _for_each_tenant(
        self, deliveries: Iterable[Delivery], command: Callable[[str, Sequence[bytes]], Command]
    ) -> list[str]:
        """Send a command for each tenant, and return the refused and the lost tenants.

        Refused tenants are paused, and lost ones set aside.
        """
        tenants = ids_by_tenant(deliveries)
        commands = [command(self._keys.stream(tenant), ids) for tenant, ids in tenants.items()]
        replies = round_trip(self._client, commands, partial=True)
        answered = zip(tenants, replies, strict=True)
        return [tenant for tenant, reply in answered if not self._accepted(tenant, reply)]

    def _read_command(self, tenant: str, count: int, after: bytes = b">") -> Command:
        stream = self._keys.stream(tenant)
        return group_commands.read(stream, self.group, self.consumer, count, after)

    def _read_heavy(self, tenant: str, count: int) -> Any:
        """Return the reply of XREADGROUP, or its error."""
        try:
            return self.portions.read_heavy(tenant, self.group, self.consumer, count)
        except redis.RedisError as error:
            return error

    def _accepted(self, tenant: str, reply: Any) -> bool:
        """Return whether a reply is not an error.

        A tenant whose stream is refused is paused, and one whose node is lost is set aside.

        Raises:
            redis.RedisError: the server refuses for a reason that concerns no tenant's stream.
        """
        if not isinstance(reply, redis.RedisError):
            return True
        if not is_of_key(reply):
            if not self.aside.add([tenant], reply):
                raise reply
        elif not _has_no_group(reply):  # the next read creates a missing group again
            self.refused.add(tenant, READING, reply)
        return False

    def _create(self, tenants: Sequence[str], unread: set[str]) -> list[str]:
        """Create the group on tenants' streams; return the tenants that have a stream.

        The group of a tenant that is not in `unread` was lost.
        """
        replies = round_trip(
            self._client,
            [group_commands.create(self._keys.stream(name), self.group) for name in tenants],
            partial=True,
        )
        created = []
        for tenant, reply in zip(tenants, replies, strict=True):
            if not isinstance(reply, redis.RedisError) or str(reply).startswith("BUSYGROUP"):
                created.append(tenant)
                reason = "new" if tenant in unread else "lost"
                metrics.GROUPS_CREATED.labels(self.group, reason).inc()
            elif "requires the key to exist" not in str(reply):
                self._accepted(tenant, reply)
        return created


def _has_no_group(reply: object) -> bool:
    return isinstance(reply, redis.ResponseError) and str(reply).startswith("NOGROUP")

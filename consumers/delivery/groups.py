"""Commands on consumer groups; no other module sends one.

A *delivery* is an entry in the hands of one consumer, *pending* until it is acknowledged. Groups
start at 0, so that a group made late, or made again after a flush, sees everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, groupby, repeat
from operator import itemgetter
from typing import Any, NamedTuple

import redis

from consumers import metrics
from consumers.delivery.batch_size import LIGHT_BYTES, Portions
from consumers.delivery.refused_tenants import READING, SetAside
from consumers.faults import is_of_key
from streams.entry_ids import EntryId, of_reply
from streams.keys import Keys
from streams.wire import Command, PendingReplies, ask, checked, round_trip

ALIVE_SECONDS = 30
"""How long a consumer that says nothing counts as alive."""


class Delivery(NamedTuple):
    """An entry as it was delivered, not yet decoded."""

    tenant: str
    id: bytes
    """The entry id as the server writes it; most deliveries only ever send it back."""
    fields: Sequence[bytes]

    @property
    def entry_id(self) -> EntryId:
        """Where the entry stands in its log."""
        return of_reply(self.id)


class Received(NamedTuple):
    """New entries that were delivered."""

    deliveries: list[Delivery]
    filled: list[str]
    """Tenants whose quantum was filled, or that were not read: they may have more."""


class Reading:
    """New entries that were asked for and are not yet received."""

    def __init__(
        self, receive: Callable[[], Received], asked: PendingReplies | None = None
    ) -> None:
        self._asked = asked
        self.receive = receive
        """Wait for the entries; call it once. Raises what `ConsumerGroup.ask` raises."""

    @property
    def on_its_way(self) -> bool:
        """True where the server delivers now, not only when the entries are received."""
        return self._asked is not None

    def give_up(self) -> None:
        """Do not wait for them: what was delivered stays pending."""
        if self._asked is not None:
            self._asked.give_up()


class Claimed(NamedTuple):
    """What was taken over from consumers that no longer answer."""

    deliveries: list[Delivery]
    deleted: int
    """Entries that were trimmed while they were pending."""


class ConsumerGroup:
    """One group, as one of its consumers uses it."""

    def __init__(
        self, client: redis.Redis, group: str, consumer: str, *, keys: Keys | None = None
    ) -> None:
        self.group = group
        self.consumer = consumer
        self._client = client
        self._keys = keys or Keys()
        self._read: set[str] = set()
        self.aside = SetAside(group)
        """Tenants whose keys were refused."""
        self.portions = Portions(client, self._keys)

    def register(self) -> None:
        """Make the group known to the sweep and to retention, and say that we are alive."""
        alive = ("SET", self._keys.consumer(self.group, self.consumer), 1, "EX", ALIVE_SECONDS)
        checked(round_trip(self._client, [("SADD", self._keys.groups(), self.group), alive]))

    def read(self, tenants: Sequence[str], count: int) -> list[Delivery]:
        """Deliver up to `count` new entries a tenant; make the group where it is missing.

        A tenant whose stream is refused is set aside. Never retried: what a lost reply delivered is
        pending, and taken over in time.
        """
        return self.ask(tenants, count).receive().deliveries

    def ask(self, tenants: Sequence[str], count: int) -> Reading:
        """Ask for what `read` delivers, and return what waits for it.

        A heavy tenant is asked for no sooner than its entries are received: they are many bytes.

        Raises:
            redis.ConnectionError, redis.TimeoutError: entries may have been delivered.
            redis.ResponseError: the server refuses for a reason that concerns no tenant's stream.
        """
        unread = {tenant for tenant in tenants if tenant not in self._read}
        self._read |= unread
        if len(tenants) == 1 and self.portions.is_heavy(tenants[0]):
            heavy = partial(self._read_heavy, tenants[0], count)
            return Reading(lambda: self._received(tenants, count, 1, [heavy()], unread))
        asked = PendingReplies(self._client, [self._read_command(name, count) for name in tenants])
        return Reading(
            lambda: self._received(tenants, count, count, asked.replies(), unread), asked
        )

    def _received(
        self, tenants: Sequence[str], count: int, fills: int, replies: list[Any], unread: set[str]
    ) -> Received:
        """Return what the replies deliver; `fills` entries fill a tenant's quantum."""
        received = Received([], [])
        lost: list[str] = []
        for tenant, reply in zip(tenants, replies, strict=True):
            if isinstance(reply, redis.ResponseError) and str(reply).startswith("NOGROUP"):
                lost.append(tenant)
            elif self._answered(tenant, reply) and reply:
                ((_, entries),) = reply
                received.deliveries.extend(_deliveries(tenant, entries))
                if len(entries) >= fills:
                    received.filled.append(tenant)
        if lost and (made := self._create(lost)):
            for tenant in made:
                why = "new" if tenant in unread else "lost"
                metrics.GROUPS_MADE.labels(self.group, why).inc()
            # Divided again: streams may have grown since they were asked for.
            first, *others = self.portions.of(made, count)
            again = self.ask(first, count).receive()
            received.deliveries.extend(again.deliveries)
            received.filled.extend(chain(again.filled, *others))
        return received

    def read_again(self, count: int) -> Iterator[list[Delivery]]:
        """Yield batches of the entries that were delivered to us and are still pending.

        That is what a lost reply leaves behind: the server knows of it, we do not. Each entry comes
        once, whether it is settled meanwhile or not.
        """
        for tenants in self.portions.of(sorted(self._read), count):
            heavy = any(map(self.portions.is_heavy, tenants))
            after = dict.fromkeys(tenants, b"0")
            while after:
                commands = [
                    self._read_command(name, 1 if heavy else count, last)
                    for name, last in after.items()
                ]
                replies = dict(zip(after, round_trip(self._client, commands), strict=True))
                found = {
                    tenant: reply[0][1]
                    for tenant, reply in replies.items()
                    if self._answered(tenant, reply) and reply
                }
                after = {tenant: entries[-1][0] for tenant, entries in found.items() if entries}
                if batch := [
                    delivery
                    for tenant, entries in found.items()
                    for delivery in _deliveries(tenant, entries)
                ]:
                    yield batch

    def acknowledge(self, deliveries: Iterable[Delivery]) -> None:
        """Say that the effect of these is stored."""
        self._for_each_tenant(deliveries, lambda stream, ids: ("XACK", stream, self.group, *ids))

    def hold(self, deliveries: Iterable[Delivery]) -> None:
        """Say that we are still at these, without counting a delivery."""
        self._for_each_tenant(
            deliveries,
            lambda stream, ids: ("XCLAIM", stream, self.group, self.consumer, 0, *ids, "JUSTID"),
        )

    def give_back(self, deliveries: Iterable[Delivery], idle_seconds: float) -> None:
        """Let others take these over at once, as if they had been idle for so long.

        No delivery is counted; what is no longer pending is passed over.
        """
        options = ("IDLE", int(idle_seconds * 1000), "JUSTID")
        self._for_each_tenant(
            deliveries,
            lambda stream, ids: ("XCLAIM", stream, self.group, self.consumer, 0, *ids, *options),
        )

    def _for_each_tenant(
        self, deliveries: Iterable[Delivery], command: Callable[[str, Sequence[bytes]], Command]
    ) -> None:
        """Send a command for each tenant; what one tenant's stream refuses sets it aside."""
        tenants = _by_tenant(deliveries)
        commands = [command(self._keys.stream(tenant), ids) for tenant, ids in tenants.items()]
        for tenant, reply in zip(tenants, round_trip(self._client, commands), strict=True):
            self._answered(tenant, reply)

    def _read_heavy(self, tenant: str, count: int) -> Any:
        """Return the reply of XREADGROUP, or its error."""
        try:
            return self.portions.read_heavy(tenant, self.group, self.consumer, count)
        except redis.ResponseError as error:
            return error

    def _answered(self, tenant: str, reply: Any) -> bool:
        """Return whether a reply is no refusal; one about the tenant's stream sets it aside.

        Raises:
            redis.RedisError: the server refuses for another reason.
        """
        if not isinstance(reply, redis.RedisError):
            return True
        if not is_of_key(reply):
            raise reply
        # A group that is gone is made again by the next read.
        if not str(reply).startswith("NOGROUP"):
            self.aside.add(tenant, READING, reply)
        return False

    def claim(self, tenant: str, min_idle_seconds: float, limit: int = 1_000) -> Claimed:
        """Take over what has been pending for so long, following the server's cursor.

        Ends early where it comes to more bytes than are to be held at once; call it again.
        """
        claimed, size = Claimed([], 0), 0
        idle_ms, cursor = int(min_idle_seconds * 1000), b"0-0"
        self.portions.measure(tenant)
        count = 1 if self.portions.is_heavy(tenant) else 100
        while True:
            command = self._claim_command(tenant, idle_ms, cursor, count)
            (reply,) = round_trip(self._client, [command])
            if not self._answered(tenant, reply):
                return claimed
            cursor, entries, deleted = reply
            self._read.add(tenant)
            claimed = Claimed(
                claimed.deliveries + _deliveries(tenant, entries), claimed.deleted + len(deleted)
            )
            size += sum(len(text) for _, fields in entries for text in fields or ())
            if cursor == b"0-0" or len(claimed.deliveries) >= limit or size >= LIGHT_BYTES:
                return claimed

    def leave(self) -> None:
        """Delete this consumer's name wherever nothing is pending under it.

        Deleting it elsewhere would lose what is pending; there it stays, to be taken over.
        """
        ask(self._client, "DEL", self._keys.consumer(self.group, self.consumer))
        tenants = sorted(self._read)
        asked = round_trip(
            self._client,
            [
                ("XPENDING", self._keys.stream(name), self.group, "-", "+", 1, self.consumer)
                for name in tenants
            ],
        )
        idle = [name for name, reply in zip(tenants, asked, strict=True) if reply == []]
        round_trip(
            self._client,
            [
                ("XGROUP", "DELCONSUMER", self._keys.stream(name), self.group, self.consumer)
                for name in idle
            ],
        )

    def _read_command(self, tenant: str, count: int, after: bytes = b">") -> Command:
        who = ("XREADGROUP", "GROUP", self.group, self.consumer)
        return (*who, "COUNT", count, "STREAMS", self._keys.stream(tenant), after)

    def _claim_command(self, tenant: str, idle_ms: int, cursor: bytes, count: int) -> Command:
        who = ("XAUTOCLAIM", self._keys.stream(tenant), self.group, self.consumer)
        return (*who, idle_ms, cursor, "COUNT", count)

    def _create(self, tenants: Sequence[str]) -> list[str]:
        """Make the group at 0 and give the tenants that have a log at all."""
        replies = round_trip(
            self._client,
            [("XGROUP", "CREATE", self._keys.stream(name), self.group, "0") for name in tenants],
        )
        made = []
        for tenant, reply in zip(tenants, replies, strict=True):
            if not isinstance(reply, redis.ResponseError) or str(reply).startswith("BUSYGROUP"):
                made.append(tenant)
            elif "requires the key to exist" not in str(reply):
                self._answered(tenant, reply)
        return made


def _deliveries(tenant: str, entries: Sequence[tuple[bytes, Sequence[bytes]]]) -> list[Delivery]:
    if not all(map(_FIELDS, entries)):
        # An entry that was trimmed while it was pending has no fields; reclaiming counts it.
        entries = [entry for entry in entries if entry[1]]
    if not entries:
        return []
    return list(map(_new, repeat(Delivery), zip(repeat(tenant), *zip(*entries, strict=True))))


def _by_tenant(deliveries: Iterable[Delivery]) -> Mapping[str, list[bytes]]:
    tenants: dict[str, list[bytes]] = {}
    for tenant, run in groupby(deliveries, _TENANT):
        tenants.setdefault(tenant, []).extend(map(_ID, run))
    return tenants


# A named tuple's own constructor takes three times as long.
_new = tuple.__new__
_TENANT: Callable[[Delivery], str] = itemgetter(0)
_ID: Callable[[Delivery], bytes] = itemgetter(1)
_FIELDS: Callable[[tuple[bytes, Sequence[bytes]]], Sequence[bytes]] = itemgetter(1)

"""Reading: the entries to work at next, asked for before the batch in hand is settled.

The server delivers the next batch while the consumer works at this one. What is *ahead* is asked
for, then taken in (received and decoded) when its turn comes, or earlier, while the consumer waits
for PostgreSQL. There are never more than two batches: the one in hand and the one ahead. Each is a
*portion* (`consumers.delivery.batch_size`), so that both are bounded in bytes.

What is ahead was delivered, so it is pending: a crash leaves it to be taken over. A lease of the
ready queue ends when the turn of its last portion comes, before the entries are received or
settled. A heavy portion is asked for only when it is received; a crash in between leaves it to the
sweep. A tenant whose quantum was filled last time is marked ready again at that moment, so
that another consumer never waits for this one to take its batch in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from consumers.delivery.groups import ConsumerGroup, Delivery, Reading
from consumers.delivery.ready import Lease, ReadyQueue
from consumers.delivery.refused_tenants import READING
from consumers.loop.settling import Batch

TENANTS = 64
"""Tenants in one lease at most."""
BATCH = 4_000
"""Entries in one batch, about; each tenant has an equal share, so that none delays the others."""
QUANTUM = 1_000
"""Entries of one tenant in one batch at most."""


class _Leased:
    """A lease in use, and those of its tenants that have not been asked for."""

    def __init__(self, lease: Lease, quantum: int, unread: Sequence[str]) -> None:
        self.lease = lease
        self.quantum = quantum
        self.unread = unread


class _Asked(NamedTuple):
    """A portion that was asked for and is not yet received."""

    tenants: Sequence[str]
    reading: Reading


class Reader:
    """Reads new entries of ready tenants, one batch ahead of what is being settled.

    Args:
        decoded: makes a batch of deliveries.
        batch_entries: about so many entries are in one batch.
    """

    def __init__(
        self,
        group: ConsumerGroup,
        ready: ReadyQueue,
        decoded: Callable[[Sequence[Delivery]], Batch],
        *,
        batch_entries: int = BATCH,
    ) -> None:
        self._group = group
        self._ready = ready
        self._decoded = decoded
        self._batch_entries = batch_entries
        self._leased: _Leased | None = None
        self._asked: _Asked | None = None
        self._ahead: Batch | Exception | None = None
        self._filled: set[str] = set()
        """Tenants whose quantum was filled when they were last read."""
        self._full = False
        """True where the last lease was full: more tenants may be ready."""

    def next(self, block_seconds: float) -> Batch | None:
        """Return the next batch, or None where no tenant became ready.

        Where there is a backlog the batch after it is asked for: without one, what comes meanwhile
        is better read later and together.

        Raises:
            redis.RedisError: what may have been delivered is read by `ConsumerGroup.read_again`.
        """
        if self._ahead is None and self._asked is None:
            self._ask(block_seconds)
        batch = self._take()
        if batch is not None and (self._leased or self._filled or self._full):
            try:
                self._ask(0.0)
            except Exception as error:
                # It does not concern this batch: the next call raises it. Where ending the lease
                # failed, what was asked for replaces the error, and the lease expires by itself.
                self._ahead = error
        return batch

    def look_ahead(self) -> None:
        """Take in what is on its way; an error is kept until its turn.

        It is for the time in which the consumer waits for another server.
        """
        if self._asked is not None and self._asked.reading.on_its_way:
            self._take_in()

    def hold(self) -> None:
        """Keep what is ahead from being taken over, during a long outage.

        Raises:
            redis.RedisError: Redis is away, too.
        """
        self.look_ahead()
        if isinstance(self._ahead, Batch):
            self._group.hold(self._ahead.deliveries)

    def last(self) -> Batch | None:
        """Return what is ahead, if anything, and give back the leases of what was not asked for.

        Raises:
            redis.RedisError: as `next` does.
        """
        left = list[str]()
        if self._leased is not None:
            left += self._leased.unread
            self._finish(self._leased)
        if self._asked is not None and not self._asked.reading.on_its_way:
            left += self._asked.tenants
            self._asked = None
        self._ready.mark(left)
        return self._take()

    def give_up(self) -> None:
        """Forget what is ahead.

        What was delivered stays pending, for `ConsumerGroup.read_again`. What was not is found by
        the sweep, or when the lease ends.
        """
        if self._asked is not None:
            self._asked.reading.give_up()
        self._asked = self._ahead = self._leased = None
        self._filled.clear()

    def _take(self) -> Batch | None:
        if self._asked is not None:
            self._take_in()
        ahead, self._ahead = self._ahead, None
        if isinstance(ahead, Exception):
            try:
                raise ahead
            finally:
                del ahead  # or its traceback would refer to itself
        return ahead

    def _take_in(self) -> None:
        try:
            self._ahead = self._decoded(self._receive())
        except Exception as error:  # `_take` raises it
            self._ahead = error

    def _receive(self) -> Sequence[Delivery]:
        """Receive the requested entries; mark tenants that newly filled their quantum."""
        asked, self._asked = self._asked, None
        if asked is None:
            return ()
        received = asked.reading.receive()
        found = set(received.filled)
        # Those that filled it last time, too, were marked when the lease ended. That mark may reach
        # the server before the read does, which costs an empty read at most: an append marks again.
        self._ready.mark(sorted(found - self._filled))
        self._filled = self._filled.difference(asked.tenants) | found
        return received.deliveries

    def _ask(self, block_seconds: float) -> None:
        """Ask for the next portion; the lease ends with its last one."""
        leased = self._leased or self._lease(block_seconds)
        if leased is None:
            return
        # Divided anew each time: a tenant may have become heavy since the last portion.
        tenants = next(self._group.portions.of(leased.unread, leased.quantum))
        asked_for = set(tenants)
        leased.unread = [name for name in leased.unread if name not in asked_for]
        self._asked = _Asked(tenants, self._group.ask(tenants, leased.quantum))
        if not leased.unread:
            self._finish(leased)

    def _finish(self, leased: _Leased) -> None:
        self._leased = None
        self._full = len(leased.lease.tenants) >= TENANTS
        self._ready.finish(leased.lease, sorted(self._filled))

    def _lease(self, block_seconds: float) -> _Leased | None:
        """Lease ready tenants; None where there are none that can be read."""
        lease = self._ready.take(TENANTS, block_seconds)
        if not lease.tenants:
            return None
        quantum = max(1, min(QUANTUM, self._batch_entries // len(lease.tenants)))
        aside = self._group.aside
        tenants = [name for name in lease.tenants if not aside.holds(name, READING)]
        # Others were marked when they were received. One that is set aside must not be marked: it
        # would be leased again at once, without end; the sweep marks it in time.
        self._filled.intersection_update(tenants)
        leased = _Leased(lease, quantum, tenants)
        if not leased.unread:
            self._finish(leased)
            return None
        self._leased = leased
        return leased

"""Reading ahead: requesting the next batch before the current one is settled.

The server delivers the next batch while the consumer settles this one. The batch *ahead* is
requested, and then received and decoded when its turn comes, or earlier, while the consumer waits
for PostgreSQL. A consumer never holds more than two batches: the current one and the one ahead.
Each is a *portion* (`consumers.delivery.batch_size`), so that both are bounded in bytes. Used by
`consumers.loop.runner`.

The entries of a batch ahead are pending, so that other consumers take them over after a crash. A
lease of the ready queue ends when its last portion becomes the batch ahead. The entries of a heavy
tenant are delivered only when their turn comes; after a crash before that, the sweep finds the
tenant. A tenant whose quantum was filled last time is marked ready at the end of the lease, so that
another consumer can read it meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from consumers.delivery.deliveries import Delivery
from consumers.delivery.groups import ConsumerGroup
from consumers.delivery.read_requests import ReadRequest
from consumers.delivery.ready import Lease, ReadyQueue
from consumers.delivery.refused_tenants import READING
from consumers.loop.batches import Batch

MAX_TENANTS = 64
"""The number of tenants in one lease at most. With more, each would have few entries of a
batch, and more tenants would wait for the lease of a consumer that died to expire."""
BATCH = 4_000
"""The approximate number of entries in one batch; each tenant has an equal share of it."""
QUANTUM = 1_000
"""The number of entries of one tenant in one batch at most, so that a tenant with a backlog shares
the consumer with others. With fewer, a single busy tenant would have small and costly batches."""


class _Leased:
    """A lease in use, and those of its tenants that were not requested yet."""

    def __init__(self, lease: Lease, quantum: int, unread: Sequence[str]) -> None:
        self.lease = lease
        self.quantum = quantum
        self.unread = unread


class _Portion(NamedTuple):
    """A portion that was requested and not received yet."""

    tenants: Sequence[str]
    request: ReadRequest


class Reader:
    """Reads new entries of ready tenants, one batch ahead of the one that is being settled.

    Args:
        decode: makes a batch of deliveries.
        batch_entries: the approximate number of entries in one batch.
    """

    def __init__(
        self,
        group: ConsumerGroup,
        ready: ReadyQueue,
        decode: Callable[[Sequence[Delivery]], Batch],
        *,
        batch_entries: int = BATCH,
    ) -> None:
        self._group = group
        self._ready = ready
        self._decode = decode
        self._batch_entries = batch_entries
        self._leased: _Leased | None = None
        self._requested: _Portion | None = None
        self._ahead: Batch | Exception | None = None
        self._filled: set[str] = set()
        """Tenants whose quantum was filled when they were last read."""
        self._lease_was_full = False
        """True if the last lease had `MAX_TENANTS` tenants: more may be ready."""

    def next(self, block_seconds: float) -> Batch | None:
        """Return the next batch, or None if no tenant became ready within `block_seconds`.

        If there is a backlog, the batch after it is requested. Otherwise nothing is requested:
        entries that arrive meanwhile are better read later and together.

        Raises:
            redis.RedisError: entries may have been delivered; `ConsumerGroup.read_again` reads
                them.
        """
        if self._ahead is None and self._requested is None:
            self._request(block_seconds)
        batch = self._take()
        if batch is not None and (self._leased or self._filled or self._lease_was_full):
            try:
                self._request(0.0)
            except Exception as error:
                # It does not concern this batch: the next call raises it. But if the request was
                # sent, and only the end of the lease failed, the next call returns what was
                # requested instead, and the lease expires by itself.
                self._ahead = error
        return batch

    def look_ahead(self) -> None:
        """Receive and decode the batch ahead, if it is being delivered.

        It is called while the consumer waits for another server. An error is raised by the next
        call of `next`.
        """
        if self._requested is not None and self._requested.request.is_sent:
            self._take_in()

    def renew(self) -> None:
        """Keep the batch ahead from being taken over, during a long outage of another server.

        Raises:
            redis.RedisError: Redis is unavailable, too.
        """
        self.look_ahead()
        if isinstance(self._ahead, Batch):
            self._group.renew(self._ahead.deliveries)

    def last(self) -> Batch | None:
        """End the lease; return the batch ahead, if there is one.

        Leased tenants that were not read are marked ready again.

        Raises:
            redis.RedisError: as `next` does.
        """
        left = list[str]()
        if self._leased is not None:
            left += self._leased.unread
            self._finish(self._leased)
        if self._requested is not None and not self._requested.request.is_sent:
            left += self._requested.tenants
            self._requested = None
        self._ready.mark(left)
        return self._take()

    def give_up(self) -> None:
        """Forget the batch ahead after an error.

        Its delivered entries stay pending, for `ConsumerGroup.read_again`. Tenants that were not
        read are found by the sweep, or when the lease expires.
        """
        if self._requested is not None:
            self._requested.request.give_up()
        self._requested = self._ahead = self._leased = None
        self._filled.clear()

    def _take(self) -> Batch | None:
        if self._requested is not None:
            self._take_in()
        ahead, self._ahead = self._ahead, None
        if isinstance(ahead, Exception):
            try:
                raise ahead
            finally:
                del ahead  # the traceback would refer to itself, and keep the batch in memory
        return ahead

    def _take_in(self) -> None:
        try:
            self._ahead = self._decode(self._receive())
        except Exception as error:  # `_take` raises it
            self._ahead = error

    def _receive(self) -> Sequence[Delivery]:
        """Receive the requested entries; mark tenants that newly filled their quantum."""
        requested, self._requested = self._requested, None
        if requested is None:
            return ()
        received = requested.request.receive()
        filled = set(received.filled)
        # A tenant that filled it last time, too, was marked when its lease ended. Another consumer
        # may use that mark before this read is carried out. If it leaves entries, it marks the
        # tenant itself; if it leaves none, the next append marks it.
        self._ready.mark(sorted(filled - self._filled))
        self._filled = self._filled.difference(requested.tenants) | filled
        return received.deliveries

    def _request(self, block_seconds: float) -> None:
        """Request the next portion; the lease ends with its last one."""
        leased = self._leased or self._lease(block_seconds)
        if leased is None:
            return
        # Divided each time: a tenant may have become heavy since the last portion.
        tenants = next(self._group.portions.of(leased.unread, leased.quantum))
        requested = set(tenants)
        leased.unread = [name for name in leased.unread if name not in requested]
        self._requested = _Portion(tenants, self._group.request(tenants, leased.quantum))
        if not leased.unread:
            self._finish(leased)

    def _finish(self, leased: _Leased) -> None:
        self._leased = None
        self._lease_was_full = len(leased.lease.tenants) >= MAX_TENANTS
        self._ready.finish(leased.lease, sorted(self._filled))

    def _lease(self, block_seconds: float) -> _Leased | None:
        """Lease ready tenants; return None if there are none, or none of them can be read."""
        lease = self._ready.take(MAX_TENANTS, block_seconds)
        if not lease.tenants:
            return None
        quantum = max(1, min(QUANTUM, self._batch_entries // len(lease.tenants)))
        refused = self._group.refused
        tenants = [name for name in lease.tenants if not refused.is_paused(name, READING)]
        # `_finish` marks those that remain. Tenants of other leases have their marks already. A
        # paused tenant must not be marked: it would be leased again at once, without end. The sweep
        # marks it in time.
        self._filled.intersection_update(tenants)
        leased = _Leased(lease, quantum, tenants)
        if not leased.unread:
            self._finish(leased)
            return None
        self._leased = leased
        return leased

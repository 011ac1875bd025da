"""Reading ahead: requesting the next batch before the current one is settled.

The server delivers the next batch while the consumer settles this one. The batch *ahead* is
requested, and then received and decoded when its turn comes, or earlier, while the consumer waits
for PostgreSQL. A consumer never holds more than two batches: the current one and the one ahead.
Each is a *portion* (`consumers.delivery.batch_size`), so that both are bounded in bytes. Used by
`consumers.composition` and `consumers.loop.runner`.

The entries of a batch ahead are pending, so that other consumers take them over after a crash. A
heavy tenant is the exception: its entries are delivered when its turn comes; after a crash before
that, the sweep finds the tenant. A lease of the ready queue ends when its last portion becomes the
batch ahead. A tenant that may have more entries is marked ready, so that another consumer can read
it meanwhile: when its entries are received, or already at the end of the lease, if it had more when
it was last read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import redis
import structlog

from consumers.delivery.deliveries import Delivery
from consumers.delivery.groups import ConsumerGroup
from consumers.delivery.read_requests import ReadRequest
from consumers.delivery.ready import Lease, ReadyQueue
from consumers.delivery.refused_tenants import READING
from consumers.loop.batches import Batch
from streams.runtime.safe_text import one_line

_LOG = structlog.get_logger(__name__)

MAX_TENANTS = 64
"""The number of tenants in one lease at most. With more, each would have few entries of a
batch, and more tenants would wait for the lease of a consumer that died to expire."""
BATCH = 4_000
"""The approximate number of entries in one batch; each tenant has an equal share of it."""
QUANTUM = 1_000
"""The number of entries of one tenant in one batch at most, so that a tenant with a backlog shares
the consumer with others. With fewer, a single busy tenant would have small and costly batches."""


class _LeaseInUse:
    """A lease, and those of its tenants that were not requested yet."""

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
        decode: decodes deliveries into a batch.
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
        self._in_use: _LeaseInUse | None = None
        self._requested: _Portion | None = None
        self._ahead: Batch | Exception | None = None
        """The batch ahead, or the error that the next call of `next` raises."""
        self._filled: set[str] = set()
        """Tenants whose quantum was filled when they were last read."""
        self._lease_was_full = False
        """True if the last lease had `MAX_TENANTS` tenants: more may be ready."""

    def next(self, block_seconds: float) -> Batch | None:
        """Return the next batch, or None if there is none.

        There is none if no tenant became ready within `block_seconds`, or if all that did are
        paused; then it returns at once.

        If there is a backlog, the batch after it is requested. Otherwise nothing is requested:
        entries that arrive meanwhile are better read later and together.

        Raises:
            redis.RedisError: entries may have been delivered; `ConsumerGroup.read_again` reads
                them.
        """
        if self._ahead is None and self._requested is None:
            self._request(block_seconds)
        batch = self._take_ahead()
        if batch is not None and (self._in_use or self._filled or self._lease_was_full):
            try:
                self._request(0.0)
            except Exception as error:
                # The error does not concern this batch: the next call raises it. If the request was
                # sent, and only ending the lease failed, the next call returns the requested batch
                # instead, and the lease expires by itself.
                self._ahead = error
        return batch

    def look_ahead(self) -> None:
        """Receive and decode the batch ahead, if it is being delivered.

        It is called while the consumer waits for another server. An error is raised by the next
        call of `next`.
        """
        if self._requested is not None and self._requested.request.is_sent:
            self._receive_ahead()

    def renew(self) -> None:
        """Keep the batch ahead from being taken over, during a long outage of another server.

        Raises:
            redis.RedisError: Redis is unavailable, too.
        """
        self.look_ahead()
        if isinstance(self._ahead, Batch):
            self._group.renew(self._ahead.deliveries)

    def stop(self) -> Batch | None:
        """End the lease, and return the batch ahead, if there is one.

        Leased tenants that were not read are marked ready again. If Redis is unavailable for that,
        the lease expires by itself, and the batch ahead is returned all the same.

        Raises:
            redis.RedisError: as `next` does.
        """
        not_received: Sequence[str] = ()
        if self._requested is not None and not self._requested.request.is_sent:
            not_received, self._requested = self._requested.tenants, None
        try:
            self._end_lease(not_received)
        except redis.RedisError as error:
            _LOG.warning("lease_not_ended", group=self._group.group, error=one_line(error))
        return self._take_ahead()

    def give_up(self) -> None:
        """Forget the batch ahead after an error.

        Its delivered entries stay pending, for `ConsumerGroup.read_again`. Tenants that were not
        read are found by the sweep, or when the lease expires.
        """
        if self._requested is not None:
            self._requested.request.give_up()
        self._requested = self._ahead = self._in_use = None
        self._filled.clear()

    def _take_ahead(self) -> Batch | None:
        if self._requested is not None:
            self._receive_ahead()
        ahead, self._ahead = self._ahead, None
        if isinstance(ahead, Exception):
            try:
                raise ahead
            finally:
                del ahead  # the traceback would refer to itself, and keep the batch in memory
        return ahead

    def _receive_ahead(self) -> None:
        try:
            self._ahead = self._decode(self._receive())
        except Exception as error:  # `_take_ahead` raises it
            self._ahead = error

    def _receive(self) -> Sequence[Delivery]:
        """Receive the requested entries; mark tenants whose quantum was newly filled."""
        requested, self._requested = self._requested, None
        if requested is None:
            return ()
        received = requested.request.receive()
        filled = set(received.filled)
        # A tenant in `_filled` was marked when its lease ended, so it is not marked again. Another
        # consumer may use that mark before this read is carried out. If it leaves entries, it marks
        # the tenant itself; if it leaves none, the next append marks it.
        self._ready.mark(sorted(filled - self._filled))
        self._filled = self._filled.difference(requested.tenants) | filled
        return received.deliveries

    def _request(self, block_seconds: float) -> None:
        """Request the next portion; the lease ends with its last one."""
        in_use = self._in_use or self._lease(block_seconds)
        if in_use is None:
            return
        # Divided each time: a tenant may have become heavy since the last portion.
        tenants = next(self._group.portions.of(in_use.unread, in_use.quantum))
        # Sent first: if that fails, these tenants are still unread, and `stop` marks them.
        self._requested = _Portion(tenants, self._group.request(tenants, in_use.quantum))
        requested = set(tenants)
        in_use.unread = [name for name in in_use.unread if name not in requested]
        if not in_use.unread:
            self._finish(in_use)

    def _end_lease(self, not_received: Sequence[str]) -> None:
        """End the lease, if there is one, and mark tenants that were not read.

        Args:
            not_received: those of them for which a request was made.
        """
        if self._in_use is None:
            self._ready.mark(not_received)
        else:
            self._finish(self._in_use, [*self._in_use.unread, *not_received])

    def _finish(self, in_use: _LeaseInUse, unread: Sequence[str] = ()) -> None:
        """End a lease; mark its unread tenants, and those that may have more."""
        self._in_use = None
        self._lease_was_full = len(in_use.lease.tenants) >= MAX_TENANTS
        self._ready.finish(in_use.lease, sorted({*self._filled, *unread}))

    def _lease(self, block_seconds: float) -> _LeaseInUse | None:
        """Lease ready tenants; return None if there are none, or none of them can be read."""
        lease = self._ready.take(MAX_TENANTS, block_seconds)
        if not lease.tenants:
            return None
        quantum = max(1, min(QUANTUM, self._batch_entries // len(lease.tenants)))
        refused = self._group.refused
        tenants = [name for name in lease.tenants if not refused.is_paused(name, READING)]
        # Keep in `_filled` only tenants of this lease that are read: `_finish` marks them. Tenants
        # of other leases have their marks already. A paused tenant must not be marked: it would be
        # leased again at once, without end. The sweep marks it in time.
        self._filled.intersection_update(tenants)
        in_use = _LeaseInUse(lease, quantum, tenants)
        if not in_use.unread:
            self._finish(in_use)
            return None
        self._in_use = in_use
        return in_use

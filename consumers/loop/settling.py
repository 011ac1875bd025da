"""Settling a batch: apply and acknowledge its entries, or move them to the dead letters.

Delivery is at least once, and the effect exactly once: an entry is acknowledged only after its
effect is stored, and applying it again changes nothing. A batch that fails because of its data is
split until the bad entry is alone. During an outage of either server the settler waits with the
batch. Used by `consumers.loop.runner`, for the batches that it has read or taken over.

However long an attempt takes, the entries stay with this consumer: their idle time is set to zero
again at least every third of the reclaim time. That is done between two attempts, and while the
writer of a projection waits for its server (`consumers.protocols.WaitsLong`), for example for a
lock held by another session. Otherwise one consumer after another would take the batch over and
wait for the same lock, and the growing delivery counters would make suspects of harmless entries
(`consumers.dead_letters.trials`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from operator import attrgetter
from typing import cast

import redis
import structlog

from consumers import metrics
from consumers.dead_letters.trials import MAX_TRIALS, Suspect, Trials
from consumers.dead_letters.writer import DeadLetterWriter
from consumers.delivery.deliveries import Delivery
from consumers.delivery.groups import ConsumerGroup
from consumers.delivery.refused_tenants import DEAD_LETTERING
from consumers.faults import is_of_key, is_outage
from consumers.loop.batches import Batch
from consumers.loop.outages import Outages, Stopped
from consumers.protocols import Projection, Stop
from projections.decoding import Entry
from streams.cluster import PartlyStored
from streams.events import InvalidEvent
from streams.runtime.safe_text import one_line

_LOG = structlog.get_logger(__name__)

MAX_NAMED = 64
"""Tenants of a batch that heartbeats name, while it is not settled."""

Retry = Callable[[Callable[[], None]], None]
"""A function that calls another one, and calls it again after each outage; it raises Stopped."""


class Settler:
    """Settles batches of one consumer.

    Args:
        decode: decodes deliveries into a batch.
        renew_ahead: keeps the consumer's next batch from being taken over; called in a long wait.
        reclaim_idle_seconds: the idle time after which other consumers take a delivery over.
        clock: returns monotonic seconds.
    """

    def __init__(
        self,
        *,
        group: ConsumerGroup,
        projection: Projection,
        dead_letters: DeadLetterWriter,
        outages: Outages,
        decode: Callable[[Sequence[Delivery]], Batch],
        renew_ahead: Callable[[], None],
        reclaim_idle_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._group = group
        self._projection = projection
        self._dead_letters = dead_letters
        self._trials = Trials(group)
        self._outages = outages
        self._decode = decode
        self._renew_ahead = renew_ahead
        self._reclaim_idle = reclaim_idle_seconds
        self._clock = clock
        self._current: Sequence[Delivery] = ()
        """The deliveries of the whole batch that is being settled."""
        self._renew_at = 0.0
        self._stop: Stop | None = None
        self._name = group.group
        self._log = _LOG.bind(group=group.group, consumer=group.consumer)

    def settle(self, batch: Batch, stop: Stop) -> None:
        """Store and acknowledge the batch; move to the dead letters what cannot be applied.

        Raises:
            Stopped: the stop was set in an outage; unsettled deliveries are released to others.
        """
        with self._kept(batch.deliveries, stop):
            self._settle(batch, self._retrying(stop))

    def settle_claimed(self, tenant: str, deliveries: Sequence[Delivery], stop: Stop) -> None:
        """Settle deliveries of a tenant that were taken over: suspects last, and each alone.

        Raises:
            Stopped: as `settle` does.
            redis.RedisError: Redis is unavailable or refuses the command.
        """
        with self._kept(deliveries, stop):
            retry = self._retrying(stop)
            suspects = self._trials.suspects(tenant, deliveries)
            alone = {suspect.delivery.id for suspect in suspects}
            self._settle(self._decode([each for each in deliveries if each.id not in alone]), retry)
            for suspect in suspects:
                if suspect.trials < MAX_TRIALS:
                    self._try_alone(suspect, retry)
                else:
                    detail = f"delivered {suspect.deliveries} times; no consumer survived it alone"
                    self._reject(suspect.delivery, "kills_consumer", detail, retry)

    def release(self, deliveries: Sequence[Delivery]) -> None:
        """Let other consumers take these deliveries over at once; an error is only logged."""
        try:
            self._group.release(deliveries, self._reclaim_idle)
        except redis.RedisError as error:
            self._log.debug("batch_not_released", error=one_line(error))

    def unsettled_tenants(self) -> list[str]:
        """Return tenants with deliveries in the current batch, a bounded number of them."""
        return list(islice(dict.fromkeys(each.tenant for each in self._current), MAX_NAMED))

    def keep(self) -> None:
        """Keep the current batch and the one ahead, if they were not renewed for long.

        Writers call it while they wait. Errors are only logged. If the consumer must stop, the
        process may be ended in this wait, which is no failure of an entry: its trial is ended.
        """
        if self._trials.running is not None and self._stop is not None and self._stop.is_set():
            self._trials.end(self._trials.running)
        if self._clock() >= self._renew_at:
            self._renew()

    @contextmanager
    def _kept(self, deliveries: Sequence[Delivery], stop: Stop) -> Iterator[None]:
        """Keep the deliveries during the block; release them if it raises Stopped."""
        self._trials.end_remaining()
        self._current, self._renew_at = deliveries, self._next_renewal()
        self._stop = stop
        try:
            yield
        except Stopped:
            self._trials.end_remaining()
            self.release(deliveries)
            raise
        finally:
            self._current = ()

    def _retrying(self, stop: Stop) -> Retry:
        """Return a function that retries work, and renews the current batch between attempts."""
        longest = self._reclaim_idle / 3
        return lambda work: self._outages.retry(work, stop, self._renew, longest=longest)

    def _renew(self) -> None:
        """Renew the batches; renewing a delivery that is settled already changes nothing."""
        # Separately: if one batch cannot be renewed, the other still must be.
        for renew in (self._renew_current, self._renew_ahead):
            try:
                renew()
            except redis.RedisError as error:
                self._log.debug("batch_not_renewed", error=one_line(error))
        self._renew_at = self._next_renewal()

    def _renew_current(self) -> None:
        if self._current:
            self._group.renew(self._current)

    def _next_renewal(self) -> float:
        return self._clock() + self._reclaim_idle / 3

    def _settle(self, batch: Batch, retry: Retry, suspect: Suspect | None = None) -> None:
        """Settle a batch; a `suspect` is its only delivery."""
        if not batch.deliveries:
            return
        metrics.BATCH.labels(self._name).observe(len(batch.deliveries))
        deliveries, entries = batch
        if InvalidEvent in set(map(type, entries)):  # no loop in Python over each good batch
            deliveries, entries = self._without_invalid(batch, retry)
        if entries:
            self._apply(deliveries, cast("Sequence[Entry]", entries), retry, suspect)

    def _without_invalid(self, batch: Batch, retry: Retry) -> Batch:
        """Move invalid entries to the dead letters, and return the rest."""
        deliveries, entries = list[Delivery](), list[Entry]()
        for delivery, entry in zip(*batch, strict=True):
            if isinstance(entry, InvalidEvent):
                self._reject(delivery, entry.reason, entry.detail, retry)
            else:
                deliveries.append(delivery)
                entries.append(entry)
        return Batch(deliveries, entries)

    def _try_alone(self, suspect: Suspect, retry: Retry) -> None:
        """Settle one entry in a trial that includes its decoding."""
        with self._trials.recorded(suspect):
            batch = self._decode([suspect.delivery])
        self._settle(batch, retry, suspect)

    def _apply(
        self,
        deliveries: Sequence[Delivery],
        entries: Sequence[Entry],
        retry: Retry,
        suspect: Suspect | None,
    ) -> None:
        """Store and acknowledge entries; split those that fail because of their data.

        An entry that fails alone becomes a dead letter.
        """
        try:
            store = partial(self._store, deliveries, entries, suspect)
            if suspect is None:
                retry(store)
            else:
                self._settle_tenant(suspect.delivery.tenant, store, retry)
        except Stopped:
            raise
        except Exception as error:
            if is_outage(error):
                raise
            if len(deliveries) == 1:
                self._log.warning("entry_cannot_be_applied", error=_detail(error))
                self._reject(deliveries[0], "cannot_be_applied", _detail(error), retry)
                return
            middle = len(deliveries) // 2
            # A suspect is always alone, so that none is in a batch that is split.
            self._apply(deliveries[:middle], entries[:middle], retry, None)
            self._apply(deliveries[middle:], entries[middle:], retry, None)

    def _store(
        self,
        deliveries: Sequence[Delivery],
        entries: Sequence[Entry],
        suspect: Suspect | None,
    ) -> None:
        self.keep()  # a batch that is split takes many attempts
        with self._trials.recorded(suspect):
            started = self._clock()
            failed = self._project(entries)
            metrics.APPLY_SECONDS.labels(self._name).observe(self._clock() - started)
        if failed:
            entries = [each for each in entries if each.tenant not in failed]
            deliveries = [each for each in deliveries if each.tenant not in failed]
        pending = self._group.acknowledge(deliveries)
        if pending:  # these entries are applied, and counted, again
            entries = [each for each in entries if each.tenant not in pending]
        metrics.APPLIED.labels(self._name).inc(len(entries))
        metrics.ACKNOWLEDGED.labels(self._name).inc(len(entries))
        times = list(map(_APPENDED_MS, entries))
        metrics.DELAY_SECONDS.observe_ages(self._name, time.time() * 1000, times)

    def _settle_tenant(self, tenant: str, work: Callable[[], None], retry: Retry) -> None:
        """Do work on the keys of one tenant, or set the tenant aside if its node is lost."""

        def attempt() -> None:
            try:
                work()
            except redis.RedisError as error:
                if not self._group.aside.add([tenant], error):
                    raise

        retry(attempt)

    def _project(self, entries: Sequence[Entry]) -> Collection[str]:
        """Apply entries; return the tenants that were set aside, because their node is lost."""
        try:
            self._projection.apply(entries)
        except PartlyStored as error:
            lasting = [each for each in error.failed.values() if not self._group.aside.covers(each)]
            if lasting:
                # An error of the data first: it divides the batch; an outage is waited for.
                raise min(lasting, key=is_outage) from error
            for tenant, each in error.failed.items():
                self._group.aside.add([tenant], each)
            return error.failed
        return ()

    def _reject(self, delivery: Delivery, reason: str, detail: str, retry: Retry) -> None:
        """Move an entry to the dead letters; it stays pending if the server refuses their keys."""
        refused = self._group.refused
        if refused.is_paused(delivery.tenant, DEAD_LETTERING):
            return
        try:
            self.keep()  # many entries of a batch may be invalid
            written = False

            def write() -> None:
                nonlocal written
                written = self._dead_letters.write(delivery, reason, detail)

            self._settle_tenant(delivery.tenant, write, retry)
            if not written:
                return
        except redis.ResponseError as error:
            if not is_of_key(error):
                raise
            refused.add(delivery.tenant, DEAD_LETTERING, error)
            return
        metrics.DEAD.labels(self._name, reason).inc()
        metrics.ACKNOWLEDGED.labels(self._name).inc()
        self._log.warning(
            "entry_dead_lettered",
            tenant=delivery.tenant,
            entry_id=delivery.id.decode(),
            reason=reason,
            detail=detail,
        )


def _detail(error: Exception) -> str:
    """Return the class and the text of an error; `repr` of the client library omits the text."""
    if isinstance(error, redis.RedisError):
        return f"{type(error).__name__}({str(error)!r})"
    return repr(error)


_APPENDED_MS: Callable[[Entry], int] = attrgetter("entry_id.ms")

"""Settling a batch: apply, acknowledge; bury what can never be applied.

At least once, effect once: an entry is acknowledged only after its effect is stored, and applying
it again changes nothing. A batch that fails for its data is split until the bad entry is alone. An
outage of either server is waited out, with the batch in hand.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from operator import attrgetter
from typing import NamedTuple, cast

import redis
import structlog

from consumers import metrics
from consumers.dead_letters.letters import DeadLetters
from consumers.dead_letters.trials import TRIALS, Suspect
from consumers.delivery.groups import ConsumerGroup, Delivery
from consumers.delivery.refused_tenants import BURYING
from consumers.faults import is_of_key, is_outage, server_of
from consumers.protocols import Projection, Stop
from projections.decoding import Entry, decode_each
from streams.events import MAX_EVENT_BYTES, InvalidEvent

_LOG = structlog.get_logger(__name__)

FIRST_BACKOFF, LAST_BACKOFF = 0.1, 5.0


class Stopped(Exception):
    """Told to stop while waiting out an outage: the batch stays pending and is taken over."""


class Batch(NamedTuple):
    """Deliveries, and for each its entry, or why it can never be applied."""

    deliveries: Sequence[Delivery]
    entries: Sequence[Entry | InvalidEvent]


class Settler:
    """Settles batches of one consumer.

    Args:
        hold_ahead: called while an outage is waited out, to keep what else the consumer holds.
        max_event_bytes: longer events are dead-lettered.
    """

    def __init__(
        self,
        *,
        group: ConsumerGroup,
        projection: Projection,
        dead_letters: DeadLetters,
        hold_ahead: Callable[[], None] = lambda: None,
        max_event_bytes: int = MAX_EVENT_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._group = group
        self._projection = projection
        self._dead_letters = dead_letters
        self._trials = dead_letters.trials(group.consumer)
        self._hold_ahead = hold_ahead
        self._max_event_bytes = max_event_bytes
        self._clock = clock
        self._in_hand: Sequence[Delivery] = ()
        """Deliveries held in an outage, settled or not: to hold a settled one changes nothing."""
        self._name = group.group
        self._log = _LOG.bind(group=group.group, consumer=group.consumer)

    def decoded(self, deliveries: Sequence[Delivery]) -> Batch:
        """Make a batch of deliveries."""
        if not deliveries:
            return Batch((), ())
        tenants, ids, fields = zip(*deliveries, strict=True)
        return Batch(deliveries, decode_each(tenants, ids, fields, self._max_event_bytes))

    def settle(self, batch: Batch, stop: Stop) -> None:
        """See every delivery stored and acknowledged, or buried.

        Raises:
            Stopped: an outage outlasted the stop; what is not settled is pending.
        """
        with self._holding(batch.deliveries):
            self._settle(batch, stop)

    @contextmanager
    def _holding(self, deliveries: Sequence[Delivery]) -> Iterator[None]:
        """Hold all of these, whichever of them an outage concerns."""
        self._in_hand = deliveries
        try:
            yield
        finally:
            self._in_hand = ()

    def _settle(self, batch: Batch, stop: Stop, suspect: Suspect | None = None) -> None:
        """Settle what is in hand, or a part of it.

        A `suspect` is the only delivery of its batch, and on trial.
        """
        if not batch.deliveries:
            return
        metrics.BATCH.labels(self._name).observe(len(batch.deliveries))
        deliveries, entries = batch
        if InvalidEvent in set(map(type, entries)):
            deliveries, entries = self._without_refused(batch, stop)
        if entries:
            self._apply(deliveries, cast("Sequence[Entry]", entries), stop, suspect)

    def _without_refused(self, batch: Batch, stop: Stop) -> Batch:
        """Bury what can never be applied, and return the rest."""
        deliveries, entries = list[Delivery](), list[Entry]()
        for delivery, entry in zip(*batch, strict=True):
            if isinstance(entry, InvalidEvent):
                self._bury(delivery, entry.reason, entry.detail, stop)
            else:
                deliveries.append(delivery)
                entries.append(entry)
        return Batch(deliveries, entries)

    def settle_claimed(self, tenant: str, deliveries: Sequence[Delivery], stop: Stop) -> None:
        """Settle together what was not delivered too often, and each of the rest alone.

        Raises:
            Stopped: as `settle` does.
        """
        suspects = self._trials.suspects(tenant, deliveries)
        alone = {suspect.delivery.id for suspect in suspects}
        with self._holding(deliveries):
            self._settle(self.decoded([each for each in deliveries if each.id not in alone]), stop)
            for suspect in suspects:
                if suspect.trials < TRIALS:
                    self._try_alone(suspect, stop)
                else:
                    detail = f"delivered {suspect.deliveries} times; no consumer survived it alone"
                    self._bury(suspect.delivery, "kills_consumer", detail, stop)

    def wait(self, stop: Stop, error: BaseException, seconds: float) -> None:
        """Wait until a server that is away may be back."""
        server = server_of(error)
        metrics.OUTAGES.labels(self._name, server).inc()
        metrics.OUTAGE_SECONDS.labels(self._name, server).inc(seconds)
        self._log.warning("waiting_for_server", error=one_line(error), seconds=round(seconds, 1))
        stop.wait(seconds)

    def _try_alone(self, suspect: Suspect, stop: Stop) -> None:
        """Settle one entry under trial, from before it is decoded until its effect is stored."""
        self._trials.begin(suspect)
        batch = self.decoded([suspect.delivery])
        if isinstance(batch.entries[0], InvalidEvent):
            self._end_trial(suspect)  # refused, and so survived
        self._settle(batch, stop, suspect)

    @contextmanager
    def _on_trial(self, suspect: Suspect | None) -> Iterator[None]:
        """Hold the suspect's trial, if there is one.

        The trial ends where the consumer survived: the effect is stored, or there is an exception.
        An outage is not counted as a trial.
        """
        if suspect is None:
            yield
            return
        self._trials.begin(suspect)
        try:
            yield
        except Exception:
            self._end_trial(suspect)
            raise
        self._end_trial(suspect)

    def _end_trial(self, suspect: Suspect) -> None:
        try:
            self._trials.end(suspect)
        except redis.RedisError as error:
            self._log.debug("trial_not_ended", error=one_line(error))

    def _apply(
        self,
        deliveries: Sequence[Delivery],
        entries: Sequence[Entry],
        stop: Stop,
        suspect: Suspect | None,
    ) -> None:
        """Store and acknowledge; split what fails for its data until the bad one is alone."""
        try:
            self._patiently(partial(self._store, deliveries, entries, suspect), stop)
        except Stopped:
            raise
        except Exception as error:
            if is_outage(error):
                raise
            if len(deliveries) == 1:
                self._log.warning("entry_cannot_be_applied", error=repr(error))
                self._bury(deliveries[0], "cannot_be_applied", repr(error), stop)
                return
            middle = len(deliveries) // 2
            self._apply(deliveries[:middle], entries[:middle], stop, suspect)
            self._apply(deliveries[middle:], entries[middle:], stop, suspect)

    def _store(
        self,
        deliveries: Sequence[Delivery],
        entries: Sequence[Entry],
        suspect: Suspect | None,
    ) -> None:
        with self._on_trial(suspect):
            started = self._clock()
            self._projection.apply(entries)
            metrics.APPLY_SECONDS.labels(self._name).observe(self._clock() - started)
        self._group.acknowledge(deliveries)
        metrics.APPLIED.labels(self._name).inc(len(entries))
        metrics.ACKNOWLEDGED.labels(self._name).inc(len(entries))
        times = list(map(_APPENDED_MS, entries))
        metrics.DELAY_SECONDS.observe_ages(self._name, time.time() * 1000, times)

    def _bury(self, delivery: Delivery, reason: str, detail: str, stop: Stop) -> None:
        """Bury one entry; where the tenant's dead letters are refused it stays pending."""
        aside = self._group.aside
        if aside.holds(delivery.tenant, BURYING):
            return
        work = partial(self._dead_letters.bury, delivery, reason, detail)
        try:
            self._patiently(work, stop)
        except redis.ResponseError as error:
            if not is_of_key(error):
                raise
            aside.add(delivery.tenant, BURYING, error)
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

    def _patiently(self, work: Callable[[], None], stop: Stop) -> None:
        """Do the work, waiting out outages; meanwhile keep all that is in hand and ahead."""
        pause = FIRST_BACKOFF
        while True:
            try:
                work()
            except Exception as error:
                if not is_outage(error):
                    raise
                self.wait(stop, error, pause)
                if stop.is_set():
                    raise Stopped from error
                pause = min(pause * 2, LAST_BACKOFF)
                self._hold()
            else:
                return

    def _hold(self) -> None:
        try:
            self._group.hold(self._in_hand)
            self._hold_ahead()
        except redis.RedisError as error:
            self._log.debug("hold_failed", error=str(error))


def one_line(error: BaseException) -> str:
    """Return what an error says, as one line."""
    return " ".join(str(error).split()) or type(error).__name__


_APPENDED_MS: Callable[[Entry], int] = attrgetter("entry_id.ms")

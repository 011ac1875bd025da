"""One consumer: take ready tenants, read, decode, apply, acknowledge, again.

At least once, effect once: an entry is acknowledged only after its effect is stored, and applying
it again changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import redis
import structlog

from consumers import metrics
from consumers.aside import BURYING, READING
from consumers.dead_letters import DeadLetters
from consumers.faults import is_of_key, is_outage, server_of
from consumers.groups import ConsumerGroup, Delivery
from consumers.protocols import Chore, Projection, Stop
from consumers.ready import ReadyQueue
from consumers.sweep import Sweep
from consumers.trials import TRIALS, Suspect
from projections.decoding import Entry, decode
from streams.events import MAX_EVENT_BYTES, InvalidEvent

_LOG = structlog.get_logger(__name__)

TENANTS = 64
"""Tenants in one batch."""
BATCH = 4_000
"""Entries in one batch, about; each tenant has an equal share, so that none delays the others."""
QUANTUM = 1_000
"""Entries of one tenant in one batch at most."""
BLOCK_SECONDS = 0.5
"""How long to wait for a ready tenant before looking about; a stop waits as long."""
SHORTEST_BLOCK = 0.01  # 0 would wait for ever
FIRST_BACKOFF, LAST_BACKOFF = 0.1, 5.0


class Stopped(Exception):
    """Told to stop while waiting out an outage: the batch stays pending and is taken over."""


class Consumer:
    """One member of a consumer group.

    Args:
        chores: what to do between batches; one that meets an outage is put off.
        reclaim_idle_seconds: after so long a silent consumer's deliveries are taken over.
        max_event_bytes: longer events are dead-lettered.
    """

    def __init__(
        self,
        *,
        group: ConsumerGroup,
        projection: Projection,
        ready: ReadyQueue,
        dead_letters: DeadLetters,
        sweep: Sweep,
        chores: Sequence[Chore] = (),
        reclaim_idle_seconds: float = 30.0,
        max_event_bytes: int = MAX_EVENT_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._group = group
        self._projection = projection
        self._ready = ready
        self._dead_letters = dead_letters
        self._trials = dead_letters.trials(group.consumer)
        self._suspect: Suspect | None = None
        self._sweep = sweep
        self._chores = chores
        self._reclaim_idle = reclaim_idle_seconds
        self._max_event_bytes = max_event_bytes
        self._clock = clock
        self._name = group.group
        metrics.begin(self._name)
        self._log = _LOG.bind(group=group.group, consumer=group.consumer)

    def run(self, stop: Stop) -> None:
        """Work until told to stop; finish the batch in hand, then leave."""
        self._log.info("consumer_started")
        metrics.RUNNING.labels(self._name).set(1)
        pause, broken = FIRST_BACKOFF, False
        while not stop.is_set():
            try:
                if broken:
                    self._recover(stop)
                self.turn(stop)
                pause, broken = FIRST_BACKOFF, False
            except Stopped:
                break
            except redis.RedisError as error:
                if not is_outage(error) and not is_of_key(error):
                    raise
                self._wait(stop, error, pause)
                pause, broken = min(pause * 2, LAST_BACKOFF), True
        self._leave()
        metrics.RUNNING.labels(self._name).set(0)
        self._log.info("consumer_stopped")

    def turn(self, stop: Stop) -> int:
        """Do one round and give how many entries it settled."""
        metrics.LAST_TURN.labels(self._name).set_to_current_time()
        if self._sweep.due():
            self._group.register()
            self._sweep.run()
        elif self._sweep.check_due():
            self._sweep.check_more()
        self._do_chores()
        settled = sum(self._claim(tenant, stop) for tenant in self._sweep.take_stale())
        return settled + self._read(stop)

    def _read(self, stop: Stop) -> int:
        """Read and settle what is ready, so much at once as memory allows."""
        block = min(BLOCK_SECONDS, self._sweep.seconds_left())
        lease = self._ready.take(TENANTS, max(block, SHORTEST_BLOCK))
        if not lease.tenants:
            return 0
        quantum = max(1, min(QUANTUM, BATCH // len(lease.tenants)))
        aside, portions = self._group.aside, self._group.portions
        tenants = [name for name in lease.tenants if not aside.holds(name, READING)]
        settled, more = 0, list[str]()
        for portion in portions.of(tenants, quantum):
            if stop.is_set():
                more += portion
                continue
            deliveries = self._group.read(portion, quantum)
            self._settle(deliveries, stop)
            settled += len(deliveries)
            full = 1 if portions.is_heavy(portion[0]) else quantum
            more += _with_more(portion, deliveries, full)
        self._ready.finish(lease, more)
        return settled

    def _do_chores(self) -> None:
        for chore in self._chores:
            if chore.due():
                try:
                    chore.run()
                except Exception as error:
                    if not is_outage(error) and not is_of_key(error):
                        raise
                    what = type(chore).__name__.lower()
                    metrics.CHORES_PUT_OFF.labels(what).inc()
                    self._log.warning("chore_put_off", chore=what, error=_one_line(error))

    def _recover(self, stop: Stop) -> None:
        """Settle what was delivered to us in replies that a broken connection swallowed."""
        for deliveries in self._group.read_again(QUANTUM):
            metrics.REDELIVERED.labels(self._name).inc(len(deliveries))
            self._log.info("deliveries_read_again", count=len(deliveries))
            self._settle(deliveries, stop)

    def _claim(self, tenant: str, stop: Stop) -> int:
        """Take over what a dead consumer held of this tenant."""
        claimed = self._group.claim(tenant, self._reclaim_idle)
        if claimed.deleted:
            metrics.DELETED.labels(self._name).inc(claimed.deleted)
            self._log.error("entries_deleted_while_pending", tenant=tenant, count=claimed.deleted)
        if claimed.deliveries:
            metrics.CLAIMED.labels(self._name).inc(len(claimed.deliveries))
            metrics.REDELIVERED.labels(self._name).inc(len(claimed.deliveries))
            self._log.info("deliveries_claimed", tenant=tenant, count=len(claimed.deliveries))
            try:
                self._settle_claimed(tenant, claimed.deliveries, stop)
            except redis.ResponseError as error:
                if not is_of_key(error):
                    raise
                self._group.aside.add(tenant, READING, error)
        return len(claimed.deliveries)

    def _settle_claimed(self, tenant: str, deliveries: Sequence[Delivery], stop: Stop) -> None:
        """Settle together what was not delivered too often, and each of the rest alone."""
        suspects = self._trials.suspects(tenant, deliveries)
        alone = {suspect.delivery.id for suspect in suspects}
        self._settle([each for each in deliveries if each.id not in alone], stop)
        for suspect in suspects:
            if suspect.trials < TRIALS:
                self._try_alone(suspect, stop)
            else:
                detail = f"delivered {suspect.deliveries} times; no consumer survived it alone"
                self._bury(suspect.delivery, "kills_consumer", detail, stop)

    def _try_alone(self, suspect: Suspect, stop: Stop) -> None:
        """Settle one entry under trial, from before it is decoded until it is acknowledged."""
        self._suspect = suspect
        try:
            self._trials.begin(suspect)
            self._settle([suspect.delivery], stop)
            if self._group.aside.holds(suspect.delivery.tenant, BURYING):
                self._trials.end(suspect)  # survived, and still pending
        finally:
            self._suspect = None

    @contextmanager
    def _on_trial(self) -> Iterator[None]:
        """Try the suspect, if there is one; an error is survival, and an outage convicts nobody."""
        suspect = self._suspect
        if suspect is None:
            yield
            return
        self._trials.begin(suspect)
        try:
            yield
        except Exception:
            try:
                self._trials.end(suspect)
            except redis.RedisError as error:
                self._log.debug("trial_not_ended", error=_one_line(error))
            raise

    def _settle(self, deliveries: Sequence[Delivery], stop: Stop) -> None:
        """See every delivery stored and acknowledged, or buried."""
        if not deliveries:
            return
        metrics.BATCH.labels(self._name).observe(len(deliveries))
        good, entries = list[Delivery](), list[Entry]()
        for delivery in deliveries:
            try:
                entry = decode(
                    delivery.tenant, delivery.entry_id, delivery.fields, self._max_event_bytes
                )
            except InvalidEvent as error:
                self._bury(delivery, error.reason, error.detail, stop)
            else:
                good.append(delivery)
                entries.append(entry)
        if good:
            self._apply(good, entries, stop)

    def _apply(self, deliveries: Sequence[Delivery], entries: Sequence[Entry], stop: Stop) -> None:
        """Store and acknowledge; split what fails for its data until the bad one is alone."""
        try:
            self._patiently(lambda: self._store(deliveries, entries), deliveries, stop)
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
            self._apply(deliveries[:middle], entries[:middle], stop)
            self._apply(deliveries[middle:], entries[middle:], stop)

    def _store(self, deliveries: Sequence[Delivery], entries: Sequence[Entry]) -> None:
        with self._on_trial():
            started = self._clock()
            self._projection.apply(entries)
            metrics.APPLY_SECONDS.labels(self._name).observe(self._clock() - started)
            self._group.acknowledge(deliveries)
        metrics.APPLIED.labels(self._name).inc(len(entries))
        metrics.ACKNOWLEDGED.labels(self._name).inc(len(entries))
        times = [entry.entry_id.ms for entry in entries]
        metrics.DELAY_SECONDS.observe_ages(self._name, time.time() * 1000, times)

    def _bury(self, delivery: Delivery, reason: str, detail: str, stop: Stop) -> None:
        """Bury one entry; where the tenant's dead letters are refused it stays pending."""
        aside = self._group.aside
        if aside.holds(delivery.tenant, BURYING):
            return
        work = partial(self._dead_letters.bury, delivery, reason, detail)
        try:
            self._patiently(work, [delivery], stop)
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

    def _patiently(
        self,
        work: Callable[[], None],
        held: Sequence[Delivery],
        stop: Stop,
    ) -> None:
        """Do the work, waiting out outages; meanwhile say that the batch is still in our hands."""
        pause = FIRST_BACKOFF
        while True:
            try:
                work()
            except Exception as error:
                if not is_outage(error):
                    raise
                self._wait(stop, error, pause)
                if stop.is_set():
                    raise Stopped from error
                pause = min(pause * 2, LAST_BACKOFF)
                self._hold(held)
            else:
                return

    def _hold(self, held: Sequence[Delivery]) -> None:
        try:
            self._group.hold(held)
        except redis.RedisError as error:
            self._log.debug("hold_failed", error=str(error))

    def _wait(self, stop: Stop, error: BaseException, seconds: float) -> None:
        server = server_of(error)
        metrics.OUTAGES.labels(self._name, server).inc()
        metrics.OUTAGE_SECONDS.labels(self._name, server).inc(seconds)
        self._log.warning("waiting_for_server", error=_one_line(error), seconds=round(seconds, 1))
        stop.wait(seconds)

    def _leave(self) -> None:
        try:
            self._sweep.resign()
            self._group.leave()
        except redis.RedisError as error:
            self._log.warning("consumer_name_left_behind", error=_one_line(error))


def _with_more(tenants: Sequence[str], deliveries: Sequence[Delivery], quantum: int) -> list[str]:
    """Give the tenants whose quantum was filled."""
    counts = dict.fromkeys(tenants, 0)
    for delivery in deliveries:
        counts[delivery.tenant] += 1
    return [tenant for tenant, count in counts.items() if count >= quantum]


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__

"""One consumer: take ready tenants, read, settle, again.

Its parts: `consumers.loop.read_ahead` says which entries come next, `consumers.loop.settling` sees
them stored and acknowledged. Between batches the consumer sweeps, does chores, and takes over what
a dead consumer held.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import redis
import structlog

from consumers import metrics
from consumers.chores.sweep import Sweep
from consumers.dead_letters.letters import DeadLetters
from consumers.delivery.groups import ConsumerGroup, Delivery
from consumers.delivery.ready import ReadyQueue
from consumers.delivery.refused_tenants import READING
from consumers.faults import is_of_key, is_outage
from consumers.loop.read_ahead import BATCH, QUANTUM, Reader
from consumers.loop.settling import FIRST_BACKOFF, LAST_BACKOFF, Batch, Settler, Stopped, one_line
from consumers.protocols import Chore, Projection, Stop
from streams.events import MAX_EVENT_BYTES

_LOG = structlog.get_logger(__name__)

BLOCK_SECONDS = 0.5
"""How long to wait for a ready tenant before looking about; a stop waits as long."""
SHORTEST_BLOCK = 0.01  # 0 would wait for ever


class Consumer:
    """One member of a consumer group.

    Args:
        chores: what to do between batches; one that meets an outage is put off.
        batch_entries: about so many entries are in one batch.
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
        batch_entries: int = BATCH,
        reclaim_idle_seconds: float = 30.0,
        max_event_bytes: int = MAX_EVENT_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._group = group
        self._settler = Settler(
            group=group,
            projection=projection,
            dead_letters=dead_letters,
            hold_ahead=self._hold_ahead,
            max_event_bytes=max_event_bytes,
            clock=clock,
        )
        self._reader = Reader(group, ready, self._settler.decoded, batch_entries=batch_entries)
        self._sweep = sweep
        self._chores = chores
        self._reclaim_idle = reclaim_idle_seconds
        self._name = group.group
        metrics.begin(self._name)
        self._log = _LOG.bind(group=group.group, consumer=group.consumer)

    def run(self, stop: Stop) -> None:
        """Work until told to stop; finish the batches in hand and ahead, then leave."""
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
                broken = True
                break
            except redis.RedisError as error:
                if not is_outage(error) and not is_of_key(error):
                    raise
                self._settler.wait(stop, error, pause)
                pause, broken = min(pause * 2, LAST_BACKOFF), True
        self._end(stop, outage=broken)
        metrics.RUNNING.labels(self._name).set(0)
        self._log.info("consumer_stopped")

    def turn(self, stop: Stop) -> int:
        """Do one round and return how many entries it settled."""
        metrics.LAST_TURN.labels(self._name).set_to_current_time()
        if self._sweep.due():
            self._group.register()
            self._sweep.run()
        elif self._sweep.check_due():
            self._sweep.check_more()
        self._do_chores()
        settled = sum(self._claim(tenant, stop) for tenant in self._sweep.take_stale())
        block = min(BLOCK_SECONDS, self._sweep.seconds_left())
        batch = self._reader.next(max(block, SHORTEST_BLOCK))
        if batch is None:
            return settled
        self._settle(batch, stop)
        return settled + len(batch.deliveries)

    def look_ahead(self) -> None:
        """Take in the next batch, if it is on its way; call it while another server works."""
        self._reader.look_ahead()

    def _settle(self, batch: Batch, stop: Stop) -> None:
        with self._given_back(batch.deliveries):
            self._settler.settle(batch, stop)

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
                    self._log.warning("chore_put_off", chore=what, error=one_line(error))

    def _recover(self, stop: Stop) -> None:
        """Settle what was delivered to us in replies that a broken connection swallowed."""
        self._reader.give_up()
        for deliveries in self._group.read_again(QUANTUM):
            metrics.REDELIVERED.labels(self._name).inc(len(deliveries))
            self._log.info("deliveries_read_again", count=len(deliveries))
            self._settle(self._settler.decoded(deliveries), stop)

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
            # What is ahead is decoded before a trial begins: if it kills, it convicts nobody.
            self._reader.look_ahead()
            try:
                with self._given_back(claimed.deliveries):
                    self._settler.settle_claimed(tenant, claimed.deliveries, stop)
            except redis.ResponseError as error:
                if not is_of_key(error):
                    raise
                self._group.aside.add(tenant, READING, error)
        return len(claimed.deliveries)

    def _hold_ahead(self) -> None:
        self._reader.hold()

    def _end(self, stop: Stop, *, outage: bool) -> None:
        """Settle what is ahead, or give it back, so that nobody waits for it; then leave."""
        try:
            batch = self._reader.last()
            if batch is not None and outage:
                self._give_back(batch.deliveries)
            elif batch is not None:
                self._settle(batch, stop)
        except Stopped:
            pass
        except redis.RedisError as error:
            self._log.warning("batch_left_behind", error=one_line(error))
        self._leave()

    def _leave(self) -> None:
        try:
            self._sweep.resign()
            self._group.leave()
        except redis.RedisError as error:
            self._log.warning("consumer_name_left_behind", error=one_line(error))

    @contextmanager
    def _given_back(self, deliveries: Sequence[Delivery]) -> Iterator[None]:
        """Release the deliveries that a stop leaves unsettled."""
        try:
            yield
        except Stopped:
            self._give_back(deliveries)
            raise

    def _give_back(self, deliveries: Sequence[Delivery]) -> None:
        """Let others take these over at once."""
        try:
            self._group.give_back(deliveries, self._reclaim_idle)
        except redis.RedisError as error:
            self._log.debug("batch_not_given_back", error=one_line(error))

"""One consumer: the turns of its loop, from its start to its end.

In each turn it sweeps and does other chores that are due, takes over deliveries that a dead
consumer did not settle, tries again what a lost node of a cluster delayed, and settles the next
batch. `consumers.loop.read_ahead` provides the batches and `consumers.loop.settling` settles them.
Used by `consumers.composition`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

import redis
import structlog

from consumers import metrics
from consumers.chores.sweep.chore import Sweep
from consumers.dead_letters.writer import DeadLetterWriter
from consumers.delivery.groups import ConsumerGroup
from consumers.delivery.ready import ReadyQueue
from consumers.delivery.refused_tenants import READING
from consumers.faults import REDIS, is_of_key, is_outage
from consumers.loop.batches import decode_batch
from consumers.loop.outages import FIRST_PAUSE, Outages, Stopped, next_pause
from consumers.loop.read_ahead import BATCH, QUANTUM, Reader
from consumers.loop.settling import Settler
from consumers.protocols import Chore, DoneWhileWaiting, Projection, Stop
from streams.events import MAX_EVENT_BYTES
from streams.runtime.safe_text import one_line

_LOG = structlog.get_logger(__name__)

BLOCK_SECONDS = 0.5
"""The longest wait for a ready tenant; a stop takes as long to be noticed."""
SHORTEST_BLOCK_SECONDS = 0.01  # to Redis, 0 means no limit


class Consumer:
    """One member of a consumer group.

    Args:
        chores: periodic work beside the sweep; a chore that meets an outage is postponed.
        batch_entries: the approximate number of entries in one batch.
        reclaim_idle_seconds: the idle time after which deliveries of others are taken over.
        max_event_bytes: longer events become dead letters.
        clock: returns monotonic seconds.
    """

    def __init__(
        self,
        *,
        group: ConsumerGroup,
        projection: Projection,
        ready: ReadyQueue,
        dead_letters: DeadLetterWriter,
        sweep: Sweep,
        chores: Sequence[Chore] = (),
        batch_entries: int = BATCH,
        reclaim_idle_seconds: float = 30.0,
        max_event_bytes: int = MAX_EVENT_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        decode = partial(decode_batch, max_event_bytes=max_event_bytes)
        self._group = group
        self._outages = Outages(group.group, group.consumer, self._do_while_waiting)
        self._reader = Reader(group, ready, decode, batch_entries=batch_entries)
        self._settler = Settler(
            group=group,
            projection=projection,
            dead_letters=dead_letters,
            outages=self._outages,
            decode=decode,
            renew_ahead=self._reader.renew,
            reclaim_idle_seconds=reclaim_idle_seconds,
            clock=clock,
        )
        self._sweep = sweep
        self._chores = chores
        self._reclaim_idle = reclaim_idle_seconds
        self._decode = decode
        self._name = group.group
        metrics.initialize(self._name)
        self._log = _LOG.bind(group=group.group, consumer=group.consumer)

    def run(self, stop: Stop) -> None:
        """Run turns until the stop is set; then settle the batches in memory and leave the group.

        Outages are waited for; if one lasts when the stop is set, the batches are left to others.

        Raises:
            Exception: a chore or the server failed, and waiting does not help.
        """
        self._log.info("consumer_started")
        metrics.RUNNING.labels(self._name).set(1)
        pause, broken = FIRST_PAUSE, False
        while not stop.is_set():
            try:
                if broken:
                    self.recover(stop)
                self.turn(stop)
                pause, broken = FIRST_PAUSE, False
            except Stopped:
                broken = True
                break
            except redis.RedisError as error:
                if not is_outage(error) and not is_of_key(error):
                    raise
                self._outages.wait(stop, error, pause)
                pause, broken = next_pause(pause), True
        self._end(stop, outage=broken)
        metrics.RUNNING.labels(self._name).set(0)
        self._log.info("consumer_stopped")

    def turn(self, stop: Stop) -> int:
        """Do what is due, settle one batch, and return the number of entries settled.

        Raises:
            Stopped: the stop was set during an outage.
            redis.RedisError: Redis is unavailable or refuses; call `recover` before the next turn.
            Exception: a chore failed.
        """
        metrics.LAST_TURN.labels(self._name).set_to_current_time()
        stale = self._sweep_if_due()
        self._do_chores()
        settled = sum(self.take_over(tenant, stop) for tenant in stale)
        self._try_aside(stop)
        aside = self._group.aside
        block = min(BLOCK_SECONDS, self._sweep.seconds_left(), aside.seconds_left())
        batch = self._reader.next(max(block, SHORTEST_BLOCK_SECONDS))
        if batch is None:
            return settled
        self._settler.settle(batch, stop)
        return settled + len(batch.deliveries)

    def look_ahead(self) -> None:
        """Receive the next batch, if it is being delivered; called while another server works."""
        self._reader.look_ahead()

    def keep(self) -> None:
        """Keep the batches in memory from being taken over, during a long wait for a server."""
        self._settler.keep()
        self._do_while_waiting(None)

    def recover(self, stop: Stop) -> None:
        """Settle the entries that were delivered in replies that a broken connection lost.

        Raises:
            Stopped: the stop was set during an outage.
            redis.RedisError: Redis is unavailable or refuses the command.
        """
        self._reader.give_up()
        self._settle_pending(stop)

    def _try_aside(self, stop: Stop) -> None:
        """Settle what is pending of tenants that were set aside, if their pause is over."""
        aside = self._group.aside
        if tenants := aside.take_due():
            self._settle_pending(stop, tenants)
            aside.end_try()

    def _settle_pending(self, stop: Stop, tenants: Sequence[str] | None = None) -> None:
        """Settle what is pending for this consumer; None stands for all tenants."""
        for deliveries in self._group.read_again(QUANTUM, tenants):
            metrics.REDELIVERED.labels(self._name).inc(len(deliveries))
            self._log.info("deliveries_read_again", count=len(deliveries))
            self._settler.settle(self._decode(deliveries), stop)

    def take_over(self, tenant: str, stop: Stop) -> int:
        """Claim deliveries of this tenant that became idle, settle them, and return their number.

        Raises:
            Stopped: the stop was set during an outage.
            redis.RedisError: Redis is unavailable or refuses the command.
        """
        claimed = self._group.claim(tenant, self._reclaim_idle)
        if claimed.deleted:
            metrics.DELETED.labels(self._name).inc(claimed.deleted)
            self._log.error("entries_deleted_while_pending", tenant=tenant, count=claimed.deleted)
        if claimed.deliveries:
            metrics.CLAIMED.labels(self._name).inc(len(claimed.deliveries))
            metrics.REDELIVERED.labels(self._name).inc(len(claimed.deliveries))
            self._log.info("deliveries_claimed", tenant=tenant, count=len(claimed.deliveries))
            # An entry that ended its consumer is applied alone, as a trial that is counted. The
            # batch ahead comes first: if an entry of it ends this process, no trial is running.
            self._reader.look_ahead()
            try:
                self._settler.settle_claimed(tenant, claimed.deliveries, stop)
            except redis.RedisError as error:
                if is_of_key(error):
                    self._group.refused.add(tenant, READING, error)
                elif not self._group.aside.add([tenant], error):
                    raise
        return len(claimed.deliveries)

    def _sweep_if_due(self) -> list[str]:
        """Sweep or check streams if that is due; return the tenants to take deliveries over of.

        If a node of a cluster is lost, that is postponed: the tenants of others are read.
        """
        try:
            if self._sweep.due():
                self._group.register()
                self._sweep.run()
            elif self._sweep.check_due():
                self._sweep.check_more()
            return self._sweep.take_stale()
        except redis.RedisError as error:
            if not self._group.aside.covers(error):
                raise
            self._log_postponed(self._sweep.name, error)
            return []

    def _do_chores(self) -> None:
        for chore in self._chores:
            if chore.due():
                try:
                    chore.run()
                except Exception as error:
                    if not is_outage(error) and not is_of_key(error):
                        raise
                    self._log_postponed(chore.name, error)

    def _do_while_waiting(self, server: str | None) -> None:
        """Do the chores that need Redis alone, such as heartbeats; log its errors."""
        if server == REDIS:  # they would wait for it, too
            return
        for chore in self._chores:
            if isinstance(chore, DoneWhileWaiting):
                try:
                    chore.while_waiting(server, self._settler.unsettled_tenants())
                except redis.RedisError as error:
                    self._log.debug("chore_postponed", chore=str(chore), error=one_line(error))

    def _log_postponed(self, chore: str, error: Exception) -> None:
        metrics.CHORES_POSTPONED.labels(chore).inc()
        self._log.warning("chore_postponed", chore=chore, error=one_line(error))

    def _end(self, stop: Stop, *, outage: bool) -> None:
        """Settle the batch ahead, or release it in an outage; then leave the group."""
        try:
            batch = self._reader.stop()
            if batch is not None and outage:
                self._settler.release(batch.deliveries)
            elif batch is not None:
                self._settler.settle(batch, stop)
        except Stopped:
            pass
        except redis.RedisError as error:
            self._log.warning("batch_not_settled", error=one_line(error))
        self._leave()

    def _leave(self) -> None:
        for leave in (self._sweep.leave, self._group.leave, *(each.leave for each in self._chores)):
            try:
                leave()
            except redis.RedisError as error:
                self._log.warning("consumer_not_removed", error=one_line(error))
                return

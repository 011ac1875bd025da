"""Outbox: what the jobs of an AsyncReporter report, sent by two threads of its own.

Whatever may wait (connections, name lookups, TLS, the disk of the spool) happens in these threads
and never on an event loop. The thread of *progress* sends what may be lost. The thread of *ends*
appends all ends that wait in one durable round trip: they share one wait for the disk. Both send
events that were built on the loop, in pieces so small that the interpreter's lock is never held for
long. Used by `streams.async_job_report`, `streams.async_reporter` and `streams.recording`.
"""

from __future__ import annotations

import asyncio
import atexit
import heapq
import itertools
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from weakref import WeakSet

from ..connection import LogUnavailable, is_unreachable
from ..durability import NotDurable
from ..payloads import Prepared
from .delivery import Delivery
from .lane import RETRY_SECONDS, Lane
from .waiting import End, Item, by_tenant, settle_ends

_LOG = logging.getLogger(__name__)

PIECE = 200
"""Events in one round trip of progress."""
MOST_PROGRESS = 10_000
"""Progress events that wait; more are dropped, because Redis is too slow or unavailable."""
CALLS, YIELD_SECONDS = 16, 0.0001
"""After so many timed calls, each of which builds an event, the thread lets the loop run.

A loop that is ready waits up to 5 ms for a thread that does not sleep or wait for a socket.
"""
GATHER_SECONDS, GATHER_AT_MOST = 0.001, 0.05
"""While further ends arrive within the first time, they are waited for, up to the second time."""
EXIT_SECONDS = 5.0
"""Time that the exit of the process waits for events beyond the deadlines of ends."""


Call = Callable[[], None]
"""A function that raises nothing."""


class Outbox:
    """Events that wait, and the two threads that send them; safe to share between threads."""

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery
        self._numbers = itertools.count()
        self._reset()
        _OUTBOXES.add(self)

    def _reset(self) -> None:
        """Begin anew, without what another process has waiting."""
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._queue: deque[Item | Call] = deque()
        self._sending = False
        self._timed: list[tuple[float, int, Call]] = []
        self._arrived: deque[End] = deque()
        self._ends: list[End] = []
        self._refused: frozenset[str] = frozenset()
        self._barriers: list[Call] = []
        self._progress_lane = Lane("jobtrail progress", self._send_progress)
        self._ends_lane = Lane("jobtrail ends", self._send_ends)

    def progress(self, tenant: str, event: Prepared) -> Item:
        """Send an event that may be lost."""
        item = Item(tenant, event)
        self._in_this_process()
        if len(self._queue) < MOST_PROGRESS:
            self._queue.append(item)
            self._progress_lane.wake()
        else:
            _LOG.warning("progress dropped: %d events wait for Redis", MOST_PROGRESS)
        return item

    def call(self, function: Call) -> None:
        """Call a function in the thread of progress, after what waits."""
        self._in_this_process()
        self._queue.append(function)
        self._progress_lane.wake()

    def call_at(self, time: float, function: Call) -> None:
        """Call a function in the thread of progress at a time of the delivery's clock."""
        self._in_this_process()
        with self._lock:
            heapq.heappush(self._timed, (time, next(self._numbers), function))
        self._progress_lane.wake()

    def end(
        self,
        tenant: str,
        end: Prepared,
        before: Sequence[Item],
        last: Prepared | None = None,
        *,
        spooled: bool = True,
    ) -> asyncio.Future[None]:
        """Send an end, and with it those events before it that were not sent yet.

        Returns what the calling coroutine waits for; the end is sent also if it does not wait.
        """
        self._in_this_process()
        with self._lock:
            unsent = [item for item in before if not item.taken]
            for item in unsent:
                item.taken = True
        events = [*(item.event for item in unsent), *([last] if last else ())]
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[None] = loop.create_future()
        deadline = self._delivery.deadline()
        self._arrived.append(End(tenant, end, events, deadline, loop, waiting, spooled))
        self._ends_lane.wake()
        return waiting

    def refuses(self, tenant: str) -> bool:
        """Return True if an end waits that the server, which answers, has refused."""
        return tenant in self._refused

    def after_all(self, function: Call) -> None:
        """Call a function once all that waits now was sent, dropped, spooled or given up."""
        self._in_this_process()
        self._hurry()
        self.call(lambda: self._add_barrier(function))

    def finish(self) -> None:
        """Wait until nothing waits any more, at the exit of the process.

        If a thread cannot be started, as at the exit, this one does its work.
        """
        if self._process != os.getpid():
            return
        self._hurry()
        until = time.monotonic() + self._delivery.end_retry_seconds + EXIT_SECONDS
        while self._is_busy() and time.monotonic() < until:
            self._progress_lane.work_here()
            pause = self._ends_lane.work_here()
            time.sleep(pause or GATHER_SECONDS)

    def _is_busy(self) -> bool:
        return bool(self._queue or self._sending or self._arrived or self._ends)

    def _hurry(self) -> None:
        """Make the timed calls now."""
        with self._lock:
            timed, self._timed = sorted(self._timed, key=lambda each: each[:2]), []
        for _, _, function in timed:
            self.call(function)

    def _add_barrier(self, function: Call) -> None:
        with self._lock:
            self._barriers.append(function)
        self._wake_ends()

    def _wake_ends(self) -> None:
        """Wake the thread of ends from that of progress, which has no loop that tries again."""
        if not self._ends_lane.wake():
            self.call_at(self._delivery.clock() + RETRY_SECONDS, self._wake_ends)

    def _in_this_process(self) -> None:
        if self._process != os.getpid():
            self._reset()

    def _send_progress(self) -> float | None:
        """Do all work of the first thread; return the seconds until the next timed call."""
        self._sending = True
        try:
            time.sleep(GATHER_SECONDS)
            self._call_due()
            while self._queue:
                items = self._taken()
                if items:
                    self._delivery.send_or_drop([(item.tenant, item.event) for item in items])
                if self._queue and callable(function := self._queue[0]):
                    self._queue.popleft()
                    function()
        finally:
            self._sending = False
        with self._lock:
            return max(0.0, self._timed[0][0] - self._delivery.clock()) if self._timed else None

    def _taken(self) -> list[Item]:
        """Take the next events that no end has taken along."""
        items = list[Item]()
        with self._lock:
            while self._queue and len(items) < PIECE and isinstance(self._queue[0], Item):
                item = self._queue[0]
                self._queue.popleft()
                if not item.taken:
                    item.taken = True
                    items.append(item)
        return items

    def _call_due(self) -> None:
        now = self._delivery.clock()
        with self._lock:
            due = list[Call]()
            while self._timed and self._timed[0][0] <= now:
                due.append(heapq.heappop(self._timed)[2])
        for number, function in enumerate(due, 1):
            function()
            if number % CALLS == 0:
                time.sleep(YIELD_SECONDS)

    def _send_ends(self) -> float | None:
        """Try all ends once; return the seconds until the next try."""
        with self._lock:
            barriers, self._barriers = self._barriers, []
        self._gather()
        if self._ends:
            self._ends = self._tried(self._ends)
        if self._ends or self._arrived:
            with self._lock:
                self._barriers += barriers
            return min((end.deadline.pause for end in self._ends), default=0.0)
        for function in barriers:
            function()
        return None

    def _gather(self) -> None:
        """Take the ends that have arrived, and those that follow closely."""
        until = time.monotonic() + GATHER_AT_MOST
        while self._arrived:
            while self._arrived:
                self._ends.append(self._arrived[0])
                self._arrived.popleft()
            if time.monotonic() < until:
                time.sleep(GATHER_SECONDS)

    def _tried(self, ends: list[End]) -> list[End]:
        """Try to send ends; return those that have to be tried again."""
        error = self._append(ends)
        if len(ends) > 1 and error is not None and not _is_outage(error):
            # One tenant's stream may be at fault, which must not keep others waiting.
            groups = [(group, self._append(group)) for group in by_tenant(ends)]
        else:
            groups = [(ends, error)]
        left = [(self._left(group, problem), problem) for group, problem in groups]
        self._refused = frozenset(
            end.tenant
            for ends, problem in left
            if problem and not _is_outage(problem)
            for end in ends
        )
        return [end for ends, _ in left for end in ends]

    def _append(self, ends: Sequence[End]) -> Exception | None:
        """Append ends in one round trip; return why that failed, or None."""
        durable = any(self._delivery.is_durable(end.end) for end in ends)
        events = [event for end in ends for event in end.events()]
        try:
            self._delivery.appender.append_many(events, durable=durable, piece=PIECE)
        except Exception as error:
            return error
        return None

    def _left(self, ends: Sequence[End], error: Exception | None) -> list[End]:
        """Settle the ends that were sent, or whose time is over; return the others."""
        if not isinstance(error, LogUnavailable):
            settle_ends(ends, error)  # of another error nothing says that a second try would help
            return []
        if isinstance(error, NotDurable):  # all were appended, and some need no more than that
            settle_ends([end for end in ends if not self._delivery.is_durable(end.end)], None)
            ends = [end for end in ends if self._delivery.is_durable(end.end)]
        now, left = self._delivery.clock(), list[End]()
        for end in ends:
            if not end.deadline.passed(now):
                left.append(end._replace(deadline=end.deadline.later()))
                continue
            try:
                self._delivery.give_up(end.tenant, end.end, _copy(error), spooled=end.spooled)
            except Exception as problem:
                settle_ends([end], problem)
            else:
                settle_ends([end], None)
        return left


def _copy(error: LogUnavailable) -> LogUnavailable:
    """Return an equal error: each coroutine that raises one adds its own traceback."""
    copy = type(error)(*error.args)
    copy.__cause__ = error.__cause__
    return copy


def _is_outage(error: Exception) -> bool:
    """Return True if no other event would have been taken either."""
    return isinstance(error, NotDurable) or is_unreachable(error)


_OUTBOXES: WeakSet[Outbox] = WeakSet()


@atexit.register
def finish_all() -> None:
    """Wait until all that waits was sent, dropped or spooled; called at the exit of the process."""
    for outbox in list(_OUTBOXES):
        outbox.finish()

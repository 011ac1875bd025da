"""Delivery: how prepared events are sent while Redis is available, and while it is not.

*Progress* is sent or dropped, and after an outage it is dropped for a while without a try. An *end*
is tried until its deadline, then spooled or raised. Both reporters share this; they differ in what
waits between two tries. Used by `streams.reporting.base`, `streams.reporting.outbox` and
`streams.reporting.waiting`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import orjson

from ..appender import EventAppender
from ..connection import LogUnavailable, is_unreachable
from ..durability import NotDurable
from ..events import MAX_EVENT_BYTES
from ..payloads import Appendable, Prepared, typed_payload
from ..spool import Spool

_LOG = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0
"""Seconds between two tries of an end; each pause is twice the one before."""

Addressed = tuple[str, Prepared]
"""A tenant, and an event to append to its stream."""


@dataclass(frozen=True)
class DeliveryOptions:
    """Options of a reporter that say how events are sent; `Reporter` describes them."""

    end_retry_seconds: float = 30.0
    silence_seconds: float = 2.0
    spool: Path | None = None
    durable_ends: bool = True
    clock: Callable[[], float] = time.monotonic


class Deadline(NamedTuple):
    """The time until which an end is tried."""

    until: float
    pause: float = FIRST_PAUSE

    def passed(self, now: float) -> bool:
        """Return True if the next try would come too late."""
        return now + self.pause >= self.until

    def later(self) -> Deadline:
        """Return the deadline with a longer pause."""
        return self._replace(pause=min(self.pause * 2, LONGEST_PAUSE))


class Delivery:
    """Sends the events of one reporter; safe to share between threads.

    Raises:
        UnsafeSpool, OSError: the spool's directory cannot be used.
    """

    def __init__(self, appender: EventAppender, options: DeliveryOptions) -> None:
        self.appender = appender
        self.clock = options.clock
        self._options = options
        self._silent_until = float("-inf")
        self._spool = Spool(options.spool) if options.spool else None

    @property
    def max_event_bytes(self) -> int:
        """The size above which an event is a mistake."""
        return min(self.appender.max_event_bytes, MAX_EVENT_BYTES)

    @property
    def has_spool(self) -> bool:
        """True if ends that cannot be appended are spooled."""
        return self._spool is not None

    def send_spooled(self) -> None:
        """Append what an earlier process left in the spool."""
        if self._spool:
            self._spool.send(self.appender, durable=self._options.durable_ends)

    def prepared(self, event: Appendable) -> Prepared:
        """Return an event as it is appended.

        Raises:
            InvalidEvent: it is not valid, or too large.
        """
        return Prepared(*typed_payload(event, self.appender.max_event_bytes))

    def send_or_drop(self, events: Sequence[Addressed]) -> bool:
        """Append events that may be lost; return False if they were dropped.

        The first outage is a warning; for `silence_seconds` after it events are dropped without a
        try and without a warning.
        """
        if self.clock() < self._silent_until:
            return False
        try:
            if len(events) == 1:
                self.appender.append(*events[0])
            else:
                self.appender.append_many(events)
        except LogUnavailable as error:
            self._silent_until = self.clock() + self._options.silence_seconds
            first = events[0][1]
            others = f" and {len(events) - 1} events of others" if len(events) > 1 else ""
            _LOG.warning(
                "%s of job %s%s dropped: %s", first.type, id_of(first.payload), others, error
            )
            return False
        return True

    @property
    def end_retry_seconds(self) -> float:
        """Seconds for which an end is retried."""
        return self._options.end_retry_seconds

    def deadline(self, seconds: float | None = None) -> Deadline:
        """Return the deadline of an end that is reported now, after the usual time or `seconds`."""
        retried = self._options.end_retry_seconds if seconds is None else seconds
        return Deadline(self.clock() + retried)

    def is_durable(self, end: Prepared) -> bool:
        """Return True if an event must wait for disk and replicas."""
        return self._options.durable_ends and end.type != "queued"

    def send_end(
        self,
        tenant: str,
        end: Prepared,
        before: Sequence[Prepared] = (),
        *,
        retry_seconds: float | None = None,
        publishes: bool = False,
    ) -> None:
        """Append an end, and events before it in the same round trip; try until the deadline.

        With `publishes` it is the report of a task that is being published, for which nobody may
        wait and which means nothing once the task has started: it is not tried again after an
        answer of the server, and not spooled.

        Raises:
            LogUnavailable: Redis was unavailable for the whole time, and there is no spool.
        """
        events = [*((tenant, each) for each in before), (tenant, end)]
        deadline = self.deadline(retry_seconds)
        while True:
            try:
                self.appender.append_many(events, durable=self.is_durable(end))
            except LogUnavailable as error:
                refused = publishes and not is_unreachable(error)
                if refused or deadline.passed(self.clock()):
                    return self.give_up(tenant, end, error, spooled=not publishes)
                time.sleep(deadline.pause)
                deadline = deadline.later()
            else:
                return None

    def give_up(
        self, tenant: str, end: Prepared, error: LogUnavailable, *, spooled: bool = True
    ) -> None:
        """Spool an end that was not appended or is not durable, unless it must not be `spooled`.

        Without a spool, an end that is not durable is a warning: its job has ended for all readers.

        Raises:
            LogUnavailable: the error, if the end was not appended and there is no spool.
            OSError: it cannot be spooled.
        """
        job = id_of(end.payload)
        spool = self._spool if spooled else None
        if spool is None:
            if not isinstance(error, NotDurable):
                raise error
            _LOG.warning("%s of job %s may be lost in a failover: %s", end.type, job, error)
            return
        path = spool.keep(tenant, end.payload)
        _LOG.warning("%s of job %s spooled to %s: %s", end.type, job, path, error)


def id_of(payload: bytes) -> str:
    """Return the id of the job in an event that is valid."""
    return str(orjson.loads(payload)["id"])

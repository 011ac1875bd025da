"""Waiting while a server is unavailable, with growing pauses.

Used by `consumers.loop.runner` and `consumers.loop.settling`.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from consumers import metrics
from consumers.faults import is_outage, server_of
from consumers.protocols import Stop
from streams.runtime.safe_text import one_line

_LOG = structlog.get_logger(__name__)

FIRST_PAUSE, LAST_PAUSE = 0.1, 5.0
"""The shortest and the longest pause in seconds; each is twice the one before."""


class Stopped(Exception):
    """The consumer was stopped while it waited for a server; its batch is not settled."""


class Outages:
    """The outages that one consumer meets, counted and logged.

    Args:
        group: the consumer's group.
        consumer: its name.
        meanwhile: called with the server before each wait for it; it does not raise.
    """

    def __init__(
        self, group: str, consumer: str, meanwhile: Callable[[str], None] = lambda _server: None
    ) -> None:
        self._group = group
        self._meanwhile = meanwhile
        self._log = _LOG.bind(group=group, consumer=consumer)

    def wait(self, stop: Stop, error: BaseException, seconds: float) -> None:
        """Wait for so many seconds, or until the stop is set, because a server is unavailable.

        It counts as a turn of the loop: a consumer that waits is not stuck, and a restart would not
        help.
        """
        metrics.LAST_TURN.labels(self._group).set_to_current_time()
        server = server_of(error)
        metrics.OUTAGES.labels(self._group, server).inc()
        metrics.OUTAGE_SECONDS.labels(self._group, server).inc(seconds)
        self._log.warning("waiting_for_server", error=one_line(error), seconds=round(seconds, 1))
        self._meanwhile(server)
        stop.wait(seconds)

    def retry(
        self,
        work: Callable[[], None],
        stop: Stop,
        after_wait: Callable[[], None],
        *,
        longest: float = LAST_PAUSE,
    ) -> None:
        """Do the work, again after each outage; call `after_wait` before each further attempt.

        Args:
            work: may raise in an outage.
            stop: ends the waiting.
            after_wait: called between a pause and the next attempt.
            longest: the longest pause in seconds, if it is longer than the first one.

        Raises:
            Stopped: the stop was set during an outage.
            Exception: what the work raises, if it is no outage.
        """
        pause = FIRST_PAUSE
        while True:
            try:
                work()
            except Exception as error:
                if not is_outage(error):
                    raise
                self.wait(stop, error, pause)
                if stop.is_set():
                    raise Stopped from error
                pause = min(next_pause(pause), max(longest, FIRST_PAUSE))
                after_wait()
            else:
                return


def next_pause(pause: float) -> float:
    """Return the pause that follows one of so many seconds."""
    return min(pause * 2, LAST_PAUSE)

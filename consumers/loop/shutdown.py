"""The end of a consumer process after a signal, even if a server does not answer.

Used by `consumers.composition`, which passes the event to the loop.
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

import structlog

from streams.runtime.interrupts import INTERRUPTED_STATUS

_LOG = structlog.get_logger(__name__)

STOP_SECONDS = 5.0
"""The time limit for settling the current batch after a signal."""

LOG_SECONDS = 0.5
"""The time limit for writing the last log line."""


def stop_on_signals(seconds: float = STOP_SECONDS) -> threading.Event:
    """Return an event that SIGTERM and SIGINT set; the process ends within so many seconds.

    A second signal ends it at once. Nothing is lost: unsettled entries are delivered again.
    """
    stop = threading.Event()

    def handle(number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            signal.signal(number, signal.SIG_IGN)  # a third signal must not start this again
            _exit(INTERRUPTED_STATUS if number == signal.SIGINT else 0)
        stop.set()
        timer = threading.Timer(seconds, _exit)
        timer.daemon = True  # a process that ends in time does not wait for it
        timer.start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)
    return stop


def _exit(status: int = 0) -> None:
    """End the process at once, whatever its main thread waits for."""
    # Logged in another thread: the reader of standard error may hang as well.
    logging = threading.Thread(target=_log_exit, daemon=True)
    logging.start()
    logging.join(LOG_SECONDS)
    os._exit(status)


def _log_exit() -> None:
    _LOG.warning("consumer_exited_early", advice="a server did not answer in time; nothing is lost")

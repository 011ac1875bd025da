"""Ending a consumer that was told to stop, even where a server hangs under it."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

import structlog

from streams.runtime.interrupts import INTERRUPTED_STATUS

_LOG = structlog.get_logger(__name__)

STOP_SECONDS = 5.0
"""The time limit for the current batch once the process is told to stop."""

LOG_SECONDS = 0.5


def stop_on_signals(seconds: float = STOP_SECONDS) -> threading.Event:
    """Return an event that SIGTERM and Ctrl-C set; the process ends `seconds` later at the latest.

    A second signal ends it at once. Nothing is lost: what is not acknowledged is delivered again,
    as after a kill.
    """
    stop = threading.Event()

    def tell(number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            signal.signal(number, signal.SIG_IGN)  # a third one must not begin this again
            _cut_off(INTERRUPTED_STATUS if number == signal.SIGINT else 0)
        stop.set()
        timer = threading.Timer(seconds, _cut_off)
        timer.daemon = True  # who ends in time does not wait for it
        timer.start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, tell)
    return stop


def _cut_off(status: int = 0) -> None:
    """End the process, whatever its main thread waits for."""
    # In a thread of its own: what reads our log may hang as well.
    telling = threading.Thread(target=_tell, daemon=True)
    telling.start()
    telling.join(LOG_SECONDS)
    os._exit(status)


def _tell() -> None:
    _LOG.warning("consumer_cut_off", advice="a server did not answer in time; nothing is lost")

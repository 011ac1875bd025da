"""Lane: a thread that works when there is something to do, and ends when there is nothing.

Used by `streams.reporting.outbox`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

_LOG = logging.getLogger(__name__)

IDLE_SECONDS = 5.0
"""Time without work after which the thread ends; the next work starts another."""


class Lane:
    """One thread, which is started when it is needed.

    Args:
        name: name of the thread.
        work: does what there is to do now. It returns the seconds until it must be called again,
            or None if only `wake` brings more. It raises nothing.
    """

    def __init__(self, name: str, work: Callable[[], float | None]) -> None:
        self._name = name
        self._work = work
        self._condition = threading.Condition()
        self._woken = False
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """Have the work called soon.

        Raises:
            RuntimeError: there is no thread, and none can be started.
        """
        if self._woken:  # It is reset before the work looks for what there is to do.
            return
        with self._condition:
            self._woken = True
            if self._thread is None:
                # Nothing is lost with the process: at its exit, the outbox waits for the end.
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                try:
                    self._thread.start()
                except RuntimeError:  # there can be no more threads: the next call tries again
                    self._thread, self._woken = None, False
                    raise
            else:
                self._condition.notify()

    def _run(self) -> None:
        pause: float | None = 0.0
        while self._wait(pause):
            try:
                pause = self._work()
            except Exception:
                _LOG.exception("the thread %s goes on after an error", self._name)
                pause = 1.0

    def _wait(self, pause: float | None) -> bool:
        """Wait until there may be work; return False if the thread has ended."""
        with self._condition:
            if not self._woken:
                self._condition.wait(IDLE_SECONDS if pause is None else pause)
            if not self._woken and pause is None:
                self._thread = None
                return False
            self._woken = False
            return True

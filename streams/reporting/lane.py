"""Lane: a thread that works when there is something to do, and ends when there is nothing.

Used by `streams.reporting.outbox`.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable

_LOG = logging.getLogger(__name__)

IDLE_SECONDS = 5.0
"""Time without work after which the thread ends; the next work starts another."""
RETRY_SECONDS = 0.1
"""Time after which an event loop tries again to start a thread that could not be started."""


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
        self._next_try = float("-inf")
        self._warned = False

    def wake(self) -> bool:
        """Have the work called soon; return False if there is no thread and none can be started.

        A running event loop, whose coroutines may wait for the work, tries that again by itself.
        Otherwise the next call does.
        """
        if self._woken:  # It is reset before the work looks for what there is to do.
            return True
        with self._condition:
            self._woken = True
            if self._thread is not None:
                self._condition.notify()
                return True
            # Nothing is lost with the process: at its exit, the outbox waits for the end.
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            try:
                self._thread.start()
            except RuntimeError as error:  # at a limit of threads, or at the exit of the process
                self._thread, self._woken = None, False
                self._fail(error)
                return False
            self._warned = False
            return True

    def work_here(self) -> float | None:
        """Do the work in this thread if there is no other and none can be started.

        Return the seconds until it must be done again; None if only `wake` brings more, or another
        thread does it.
        """
        if self._thread is not None or self.wake():
            return None
        with self._condition:
            if self._thread is not None:
                return None
            self._thread = threading.current_thread()
        try:
            return self._called()
        finally:
            with self._condition:
                self._thread, self._woken = None, False

    def _fail(self, error: RuntimeError) -> None:
        """Have the running event loop try again, if there is one."""
        if not self._warned:
            self._warned = True
            _LOG.warning("the thread %s is not started: %s; reports wait", self._name, error)
        now = time.monotonic()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        if now >= self._next_try:
            # The loop may be closed before: then another one tries after twice the time.
            self._next_try = now + 2 * RETRY_SECONDS
            loop.call_later(RETRY_SECONDS, self._try_again)

    def _try_again(self) -> None:
        self._next_try = float("-inf")
        self.wake()

    def _run(self) -> None:
        pause: float | None = 0.0
        while self._wait(pause):
            pause = self._called()

    def _called(self) -> float | None:
        try:
            return self._work()
        except Exception:
            _LOG.exception("the thread %s goes on after an error", self._name)
            return 1.0

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

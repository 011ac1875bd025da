"""Commands that are kept running: child processes that are started again when they end.

Used by `jobtrail up` and by `jobtrail consume` with several processes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence

import structlog

from ops.processes.child import GRACE, STANDARD_ERROR, Child

_LOG = structlog.get_logger(__name__)

FIRST_DELAY = 0.2
"""Seconds before a child that has ended is started again; doubled each time, up to `MAX_DELAY`."""

MAX_DELAY = 5.0
STEADY_SECONDS = 10.0
"""The running time of a child after which the delay begins at `FIRST_DELAY` again."""

TICK = 0.05
"""Seconds between two checks of the children."""


class _Service:
    """A command to keep running, its child, and the time of the next start."""

    def __init__(
        self, name: str, argv: Sequence[str], env: Mapping[str, str] | None, output: int
    ) -> None:
        self.name, self._argv, self._env, self._output = name, tuple(argv), env, output
        self.child: Child | None = None
        self._delay = 0.0
        self._started_at = self._start_at = float("-inf")

    def start_or_check(self, now: float) -> None:
        """Do one step: start the child if its delay has passed, or note that it has ended.

        `now` is in seconds, on the monotonic clock. A child with exit status 0 is started again
        too.
        """
        if self.child is not None:
            self._check_for_end(self.child, now)
        elif now >= self._start_at:
            self.child = Child(self._argv, env=self._env, output=self._output)
            self._started_at = now
            _LOG.info("child_started", name=self.name, pid=self.child.pid)

    def _check_for_end(self, child: Child, now: float) -> None:
        status = child.poll()
        if status is None:
            return
        self.child = None
        self._delay = next_delay(self._delay, lived=now - self._started_at)
        self._start_at = now + self._delay
        _LOG.warning("child_died", name=self.name, exit_status=status, restart_in=self._delay)


def next_delay(delay: float, *, lived: float) -> float:
    """Return the seconds until the next start of a child that has run for `lived` seconds.

    `delay` is the delay before its last start.
    """
    return FIRST_DELAY if delay == 0 or lived >= STEADY_SECONDS else min(delay * 2, MAX_DELAY)


class Supervisor:
    """Named commands that run together: started again when they end, stopped together.

    Their standard output and error go to the file descriptor `output`.
    """

    def __init__(self, *, grace: float = GRACE, output: int = STANDARD_ERROR) -> None:
        self._grace, self._output = grace, output
        self._services: list[_Service] = []

    def add(self, name: str, argv: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        """Add a command before `run` is called.

        `env` is its complete environment; None for the environment of this process.
        """
        self._services.append(_Service(name, argv, env, self._output))

    def run(self, stop: threading.Event) -> None:
        """Keep all commands running until `stop` is set; return once all have ended."""
        try:
            while not stop.is_set():
                for service in self._services:
                    service.start_or_check(time.monotonic())
                stop.wait(TICK)
        finally:
            self._stop_all()

    def _stop_all(self) -> None:
        """Ask all children to stop, the last added first, and wait for them.

        They have one grace period together; a child that still runs after it is killed.
        """
        running = [
            (service.name, service.child)
            for service in reversed(self._services)
            if service.child is not None
        ]
        for _, child in running:
            child.ask_to_stop()
        deadline = time.monotonic() + self._grace
        for name, child in running:
            if not child.wait(deadline - time.monotonic()):
                _LOG.warning("child_killed", name=name, pid=child.pid, grace=self._grace)
                child.kill()

"""Publishing of a task: for how long it waits until the task is reported as queued.

A task is published while a web request waits, and it is published in any case. So its report gets a
short time. After a report that was too late, those of the next seconds do not wait at all. A report
that Redis refuses, perhaps because of its tenant's stream, stops no other. A report that is lost is
counted, and the first one is logged: the job appears when the task starts. Used by
`streams.integrations`.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable
from contextvars import copy_context

import redis

from ..connection import LogUnavailable, is_unreachable
from ..failure import described

_LOG = logging.getLogger(__name__)

PUBLISH_SECONDS = 2.0
"""Longest time for which publishing a task waits for its report, by default."""
SILENCE_SECONDS = 2.0
"""Time after a report that was too late in which others do not wait."""
REFUSAL_LOG_SECONDS = 60.0
"""Time after a refusal was logged in which others are not."""
_MOST_LATE = 8
"""Reports that may hang at the same time, with a client whose timeouts are long."""


class Losses:
    """Reports that were lost since Redis was last available; safe to share between threads.

    There is no lock, which a forked process could inherit locked.
    """

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._silent_until = float("-inf")
        self._refusals_silent_until = float("-inf")
        self.lost = 0
        """The number of reports that were lost so far in this process."""
        self._before_outage = 0
        self._logged = False

    @property
    def is_away(self) -> bool:
        """True if Redis was too slow or unavailable a moment ago."""
        return time.monotonic() < self._silent_until

    def late(self) -> None:
        """Record that a report was too late."""
        self._silent_until = time.monotonic() + SILENCE_SECONDS

    def lose(self, task_id: str, problem: object) -> None:
        """Count a report that was lost, and log it if it is the first one of an outage."""
        self.lost = next(self._numbers)
        if not self._logged:
            self._logged = True
            _LOG.warning(
                "queued of task %s was not appended: %s; others are counted and not logged, and "
                "jobs appear when their tasks start",
                task_id,
                problem,
            )

    def refuse(self, task_id: str, problem: object) -> None:
        """Count a report that Redis refused, and log one of them a minute."""
        self.lost = next(self._numbers)
        if time.monotonic() >= self._refusals_silent_until:
            self._refusals_silent_until = time.monotonic() + REFUSAL_LOG_SECONDS
            _LOG.warning(
                "queued of task %s was not appended: %s; refusals of the next %g s are counted and "
                "not logged, and jobs appear when their tasks start",
                task_id,
                problem,
                REFUSAL_LOG_SECONDS,
            )

    def arrived(self) -> None:
        """Record that a report was appended, and log how many were lost before it."""
        if self._logged:
            self._logged = False
            _LOG.warning(
                "tasks are reported as queued again: %d reports were lost",
                self.lost - self._before_outage,
            )
            self._before_outage = self.lost


class TooLate(Exception):
    """Nobody waits for the report any more, and it must not be appended."""


SecondsLeft = Callable[[], float]
"""Returns the seconds for which a report may still be tried; raises TooLate if there are none."""


class Publishing:
    """Calls functions that report published tasks, and waits for each of them a limited time.

    Args:
        seconds: the longest time for which one is waited for.
    """

    def __init__(self, seconds: float) -> None:
        if not seconds > 0:
            raise ValueError(f"publish_seconds must be above 0, not {seconds}")
        self.seconds = seconds
        self.losses = Losses()
        self._late: list[threading.Thread] = []

    def report(self, task_id: str, append: Callable[[SecondsLeft], int]) -> int | None:
        """Return what a function returns, or None if it was too late, or Redis was unavailable.

        The function runs in a thread: a client of the application may have any timeout. It is
        called with a function that it must call before it appends.
        """
        self._late = [each for each in self._late if each.is_alive()]
        if self.losses.is_away or len(self._late) >= _MOST_LATE:
            self.losses.lose(task_id, "Redis was unavailable a moment ago")
            return None
        call = _Call(append, self.seconds)
        thread = threading.Thread(
            target=copy_context().run, args=(call.run,), name="jobtrail queued", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:  # no more threads, or the process is about to end
            self.losses.lose(task_id, error)
            return None
        thread.join(self.seconds)
        if call.attempt is not None:
            self.losses.arrived()
            return call.attempt
        if call.error is None or isinstance(call.error, TooLate):
            if thread.is_alive():
                self._late.append(thread)
            self.losses.late()
            self.losses.lose(task_id, f"Redis took longer than {self.seconds:g} s")
        else:
            if _is_unreachable(call.error):
                self.losses.late()
            count(self.losses, task_id, call.error)
        return None


def count(losses: Losses, task_id: str, error: Exception) -> None:
    """Count a report that was not appended, or log it alone if Redis is not the reason."""
    if _is_unreachable(error):
        losses.lose(task_id, error)
    elif isinstance(error, LogUnavailable | redis.RedisError):
        losses.refuse(task_id, error)
    else:
        _LOG.warning("queued of task %s was not appended: %s", task_id, described(error))


def _is_unreachable(error: Exception) -> bool:
    """Return True if Redis did not answer; a refusal may concern one tenant or node alone."""
    return is_unreachable(error) or isinstance(error, redis.ConnectionError | redis.TimeoutError)


class _Call:
    """The call of a function in a thread, and what came of it."""

    def __init__(self, function: Callable[[SecondsLeft], int], seconds: float) -> None:
        self._function = function
        self._until = time.monotonic() + seconds
        self.attempt: int | None = None
        self.error: Exception | None = None

    def run(self) -> None:
        """Call the function."""
        try:
            self.attempt = self._function(self.seconds_left)
        except Exception as error:
            self.error = error

    def seconds_left(self) -> float:
        """Return the seconds until nobody waits for the call; raises TooLate if that is so."""
        left = self._until - time.monotonic()
        if left <= 0:
            raise TooLate
        return left

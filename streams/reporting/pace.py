"""Pace: when progress of one job is sent, so that it stays below the reporter's rate.

Used by `streams.async_job_report`, `streams.job_report` and `streams.reporting.job_base`.
"""

from __future__ import annotations

from collections.abc import Callable


class Pace:
    """Times of one job's progress; its user holds a lock.

    Args:
        interval: seconds between two progress events.
        clock: seconds of a clock that never goes back.
    """

    def __init__(self, interval: float, clock: Callable[[], float]) -> None:
        self._interval = interval
        self._clock = clock
        self._next = float("-inf")

    def seconds_to_wait(self) -> float:
        """Return the seconds until progress may be sent; it may be at once from 0 down."""
        return self._next - self._clock()

    def sent(self) -> None:
        """Record that progress is sent now."""
        self._next = self._clock() + self._interval

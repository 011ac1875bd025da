"""The base of all chores, such as trimming streams: work that a consumer does once per interval.

Some chores are done by every consumer, others only by the one that is elected for them.
`consumers.loop.runner` calls `due` and `run` between batches, and `leave` at the end. No chore
computes its own due time or writes the key of an election: `Timer` and `Election` do. Used by the
modules of `consumers.chores`.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable

from consumers.chores.election import Election


class Timer:
    """The time at which something is due; it is due at once until the timer is first set.

    Args:
        clock: returns monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._at = float("-inf")

    def is_due(self) -> bool:
        """Return whether the time has come."""
        return self._clock() >= self._at

    def seconds_left(self) -> float:
        """Return the seconds until the time has come, 0 if it has come already."""
        return max(0.0, self._at - self._clock())

    def set(self, seconds: float) -> None:
        """Set the time to so many seconds from now."""
        self._at = self._clock() + seconds


class PeriodicChore(ABC):
    """A chore as one consumer does it.

    Args:
        interval_seconds: the time from the start of one run until the next one is due.
        election: only the elected consumer does the work; None if every consumer does it.
        clock: returns monotonic seconds.
    """

    name: str
    """The chore's name in metrics and log lines."""

    def __init__(
        self,
        interval_seconds: float,
        *,
        election: Election | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._interval = interval_seconds
        self._election = election
        self._clock = clock
        self._missed_election = False
        self.timer = Timer(clock)

    def due(self) -> bool:
        """Return whether the next run is due."""
        return self.timer.is_due()

    def run(self) -> None:
        """Do the work once, if this consumer is elected for it.

        The next run is due after the interval, counted from now, also if this one fails.

        Raises:
            Exception: what the work raises.
        """
        self.timer.set(self._seconds_until_next())
        if self._acquire_election():
            self._work()

    def leave(self) -> None:
        """Let another consumer be elected at once, because this one ends.

        Raises:
            redis.RedisError: Redis is unavailable or refuses the command.
        """
        if self._election is not None:
            self._election.resign()

    @abstractmethod
    def _work(self) -> None:
        """Do the work once."""

    def _drop_state(self) -> None:
        """Drop what this consumer has stored between runs, because it may be out of date.

        Called before a run, if another consumer is elected, or was elected since the last run. A
        chore that stores nothing between its runs need not override it.
        """
        return

    def _seconds_until_next(self) -> float:
        """Return the seconds until the next run."""
        return self._interval

    def _renew_election(self) -> None:
        """Renew the election during work that may take longer than the election lasts.

        If it was lost meanwhile, the work goes on: it is harmless when two consumers do it. The
        next run drops the stored state, and does nothing if another consumer is elected then.
        """
        if self._election is not None:
            elected = self._election.acquire()
            self._missed_election |= not elected or self._election.is_new

    def _acquire_election(self) -> bool:
        """Return whether this consumer must do the work, after trying to be elected for it."""
        if self._election is None:
            return True
        elected = self._election.acquire()
        if not elected or self._election.is_new or self._missed_election:
            self._drop_state()
            self._missed_election = False
        return elected

"""The base of all chores: work that is due in intervals, of the elected consumer or of each one.

The runner of the loop calls `due` and `run` between batches, and `leave` at the end. No chore
computes its own due time or writes the key of an election: `Timer` and `Election` do.
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
        """Return the seconds until it is due, 0 where it is due already."""
        return max(0.0, self._at - self._clock())

    def set(self, seconds: float) -> None:
        """Make it due in so many seconds."""
        self._at = self._clock() + seconds


class Periodic(ABC):
    """One consumer's part in a chore.

    Args:
        election: only the elected consumer does the work; None where every consumer does it.
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
        self.timer = Timer(clock)

    def due(self) -> bool:
        """Return whether the next run is due."""
        return self.timer.is_due()

    def run(self) -> None:
        """Do the work once, if this consumer is elected; the next run is due after the interval.

        Raises:
            Exception: what the work raises; the next run tries again.
        """
        self.timer.set(self._pause())
        if self._is_elected():
            self._work()

    def leave(self) -> None:
        """Let another consumer be elected at once, because this one ends.

        Raises:
            redis.RedisError: Redis is away or refuses.
        """
        if self._election is not None:
            self._election.resign()

    @abstractmethod
    def _work(self) -> None:
        """Do the work once."""

    def _forget(self) -> None:
        """Drop what only a consumer knows that was elected without a break.

        Called where another consumer is elected, and after this one was newly elected. A chore
        that keeps nothing between its runs leaves it as it is.
        """
        return

    def _pause(self) -> float:
        """Return the seconds until the next run."""
        return self._interval

    def _renew_election(self) -> None:
        """Renew the election during work that may take longer than it lasts."""
        if self._election is not None:
            self._election.hold()

    def _is_elected(self) -> bool:
        if self._election is None:
            return True
        elected = self._election.hold()
        if not elected or self._election.is_new:
            self._forget()
        return elected

"""Turns: a share of each iteration of an event loop for the reports of its coroutines.

A loop runs all coroutines that are ready before it looks at its timers and sockets again. If a
thousand of them report at once, each for some microseconds, everything else on the loop waits for
all of them. So a limited number of reports run in one iteration, and the others wait for the next.
Used by `streams.async_job_report`, `streams.async_reporter`,
`streams.integrations.async_task_reports` and `streams.reporting.waiting`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Generator, Iterable
from typing import NamedTuple
from weakref import WeakKeyDictionary

_LOG = logging.getLogger(__name__)

REPORTS = 16
"""Reports in one iteration of a loop; each takes 10 to 60 microseconds."""


class Outcome(NamedTuple):
    """The outcome of a report that a coroutine waits for."""

    waiting: asyncio.Future[None]
    error: BaseException | None = None
    name: str = ""
    """The report in words, for a log line if nobody waits any more."""

    def tell(self) -> bool:
        """Wake the coroutine; return False if it does not wait any more."""
        if self.waiting.done():
            if self.error is not None:
                _LOG.error("%s was not appended: %s", self.name, self.error)
            return False
        if self.error is None:
            self.waiting.set_result(None)
        else:
            self.waiting.set_exception(self.error)
        return True


class Turns:
    """The turns of one loop, which is running where the methods are called."""

    def __init__(self) -> None:
        self._left = REPORTS
        self._turns: deque[asyncio.Future[None]] = deque()
        self._outcomes: deque[Outcome] = deque()
        self._scheduled = False

    def take(self) -> asyncio.Future[None] | None:
        """Take one turn: return None if the caller may go on, else what it must wait for."""
        self._schedule()
        if self._left > 0 and not self._turns:
            self._left -= 1
            return None
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._turns.append(turn)
        return turn

    def settle(self, outcomes: Iterable[Outcome]) -> None:
        """Wake the coroutines that wait for these outcomes, up to `REPORTS` in one iteration."""
        self._outcomes.extend(outcomes)
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._next_iteration)

    def _next_iteration(self) -> None:
        self._scheduled = False
        self._left = REPORTS
        while self._outcomes and self._left > 0:
            self._left -= self._outcomes.popleft().tell()
        # At least REPORTS // 2 waiting reports go on, even after REPORTS outcomes.
        self._left = max(self._left, REPORTS // 2)
        while self._turns and self._left > 0:
            turn = self._turns.popleft()
            if not turn.done():
                turn.set_result(None)
                self._left -= 1
        if self._outcomes or self._turns:
            self._schedule()


class Turn:
    """Awaitable that waits until the running loop has a turn; without `await` nothing happens."""

    def __await__(self) -> Generator[object, None, None]:
        waiting = turns_of(asyncio.get_running_loop()).take()
        if waiting is not None:
            yield from waiting


TURN = Turn()

# A value must not hold its loop, which would never be freed.
_TURNS: WeakKeyDictionary[asyncio.AbstractEventLoop, Turns] = WeakKeyDictionary()


def turns_of(loop: asyncio.AbstractEventLoop) -> Turns:
    """Return the turns of a loop."""
    turns = _TURNS.get(loop)
    if turns is None:
        turns = _TURNS[loop] = Turns()
    return turns


def settle(loop: asyncio.AbstractEventLoop, outcomes: list[Outcome]) -> None:
    """Wake coroutines of a loop from another thread."""
    try:
        loop.call_soon_threadsafe(lambda: turns_of(loop).settle(outcomes))
    except RuntimeError:  # the loop is closed, and with it all that waited
        for outcome in outcomes:
            if outcome.error is not None:
                _LOG.error("%s was not appended: %s", outcome.name, outcome.error)

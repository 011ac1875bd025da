"""Answers that all open consoles share, so that these cost the servers little.

Used by `api.operators.figures` and `api.operators.jobs`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from api.scheduling.single_flight import SingleFlight

T = TypeVar("T")

SHARE = 100
"""An answer is kept for at least so many times the time that it took: it occupies a server for 1 %
of the time at most, whatever it costs."""
MAX_SECONDS = 60.0
"""The longest time for which an answer is kept."""


class CachedAnswer(Generic[T]):
    """An answer that is computed once in a while at most; for use from one event loop.

    Args:
        work: computes the answer; None is returned, but not kept.
        seconds: the time for which it is kept at least.
        is_partial: returns whether an answer lacks a server's part; such an answer is kept for
            `seconds` only.
    """

    def __init__(
        self,
        work: Callable[[], Awaitable[T]],
        seconds: float,
        is_partial: Callable[[T], bool] = lambda _answer: False,
    ) -> None:
        self._work = work
        self._seconds = seconds
        self._is_partial = is_partial
        self._flight = SingleFlight[T]()
        self._expires = float("-inf")
        self._answer: T | None = None

    async def get(self) -> T:
        """Return the answer, computed again if it is too old; callers at that time share the work.

        Raises:
            Exception: what the work raises; the next caller tries again.
        """
        if self._answer is not None and time.monotonic() < self._expires:
            return self._answer
        return await asyncio.shield(self._flight.run(None, self._compute))

    async def _compute(self) -> T:
        began = time.monotonic()
        self._answer = answer = await self._work()
        now = time.monotonic()
        longer = 0.0 if self._is_partial(answer) else SHARE * (now - began)
        self._expires = now + min(MAX_SECONDS, max(self._seconds, longer))
        return answer

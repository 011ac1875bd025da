"""Work that equal, concurrent callers share instead of each doing it again.

Used by `api.operators.gate` and `api.operators.cached_answer`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from api.scheduling.bounded_wait import retrieve_exception

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Runs at most one piece of work for a key at a time; for use from one event loop."""

    def __init__(self) -> None:
        self._tasks: dict[Hashable, asyncio.Task[T]] = {}

    def run(self, key: Hashable, work: Callable[[], Awaitable[T]]) -> asyncio.Task[T]:
        """Return the task that does the work of a key, and start it unless it runs already.

        Callers must not cancel it, because others may wait for it.
        """
        task = self._tasks.get(key)
        if task is None:
            task = self._tasks[key] = asyncio.ensure_future(_awaited(work))
            task.add_done_callback(lambda ended: self._remove(key, ended))
            task.add_done_callback(retrieve_exception)
        return task

    def forget(self) -> None:
        """Let the next caller of each key start again; what runs already is not interrupted."""
        self._tasks.clear()

    def _remove(self, key: Hashable, ended: asyncio.Task[T]) -> None:
        if self._tasks.get(key) is ended:
            del self._tasks[key]


async def _awaited(work: Callable[[], Awaitable[T]]) -> T:
    return await work()

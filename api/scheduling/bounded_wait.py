"""Waiting for work for a limited time without cancelling it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def within(seconds: float, work: Awaitable[T]) -> T:
    """Return the outcome of some work, or raise TimeoutError and leave the work to its own end.

    For what must not be cancelled: a thread, or psycopg, which would first ask the server to cancel
    the statement too. The work needs a deadline of its own.
    """
    task = asyncio.ensure_future(work)
    done, _ = await asyncio.wait({task}, timeout=seconds)
    if not done:
        task.add_done_callback(_ignore_outcome)
        raise TimeoutError
    return task.result()


def _ignore_outcome(task: asyncio.Future[T]) -> None:
    """Retrieve an error that nobody waits for any more, or asyncio would log it."""
    if not task.cancelled():
        task.exception()

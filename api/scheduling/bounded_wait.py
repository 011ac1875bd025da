"""Waiting for asynchronous work with a time limit, without cancelling the work.

Used where work runs in a thread or in psycopg (`api.operators`, `api.jobs.database`), and for reads
that several requests share (`api.live.feed_reads`). Used by `api.jobs.database`,
`api.live.feed_reads`, `api.operators` and `api.scheduling.single_flight`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

T = TypeVar("T")


async def wait_shielded(work: Awaitable[T], seconds: float) -> T:
    """Return the result of some work, which continues if the time limit passes first.

    For work that must not be cancelled: a thread cannot be, and psycopg would first ask the server
    to cancel the statement. The work must have its own time limit.

    Raises:
        TimeoutError: the work was not done in `seconds`.
    """
    task = asyncio.ensure_future(work)
    done, _ = await asyncio.wait({task}, timeout=seconds)
    if not done:
        task.add_done_callback(retrieve_exception)
        raise TimeoutError
    return task.result()


def retrieve_exception(task: asyncio.Future[Any]) -> None:
    """Retrieve the exception of a finished task, so that asyncio does not log it as unhandled."""
    if not task.cancelled():
        task.exception()

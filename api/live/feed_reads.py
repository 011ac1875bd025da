"""Reads of tenants' feeds, a few at a time, fairly between tenants, and shared by equal requests.

Hundreds of live streams connect at once when a server or a network comes back, and each begins with
reads. Sent all at once, they would take every connection to Redis, and polls would fail. So each
read waits for a permit, and a waiting read is shared by all requests for the same data. Used by
`api.live.endpoint` and `api.live.tenant_feed`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar, cast

import redis

from api.answers.rendered import rendered
from api.live.sse import state_block
from api.live.waiters import MAX_VIEWERS
from api.scheduling.bounded_wait import retrieve_exception
from api.scheduling.fair_semaphore import FairSemaphore, PermitTimeout
from projections.reading.feed import Change, FeedReader
from streams.keys import JobKey

T = TypeVar("T")

CONCURRENT_READS = 4
"""The most reads at a time, and so the most connections to Redis that they use."""

WAIT_SECONDS = 5.0
"""Seconds that a read may wait for its permit; after that it fails as if Redis were unavailable."""


class FeedItem(NamedTuple):
    """A change, encoded for live streams."""

    offset: int
    """The change's offset in the tenant's feed."""
    job: JobKey
    block: bytes
    """The Server-Sent Event."""


class FeedItems(NamedTuple):
    """The changes after an offset, oldest first."""

    offset: int
    """The offset up to which the feed was read."""
    items: Sequence[FeedItem]


class FeedReads:
    """Reads feeds; for use from one event loop.

    All methods raise redis.RedisError if Redis is unavailable or refuses the command.
    """

    def __init__(self, reader: FeedReader) -> None:
        self._reader = reader
        self._semaphore = FairSemaphore(CONCURRENT_READS, max_waiting=MAX_VIEWERS)
        self._waiting: dict[Hashable, asyncio.Task[Any]] = {}
        """Reads that have not begun, by what they read."""

    async def newest(self, tenant: str, nth: int = 1) -> int:
        """Return the offset of the nth newest change; 0 if there are fewer."""
        read = partial(self._reader.newest, tenant, nth)
        return await self._share(("newest", tenant, nth), tenant, read)

    async def after(self, tenant: str, offset: int) -> FeedItems:
        """Return the changes after an offset, encoded."""
        read = partial(self._read_items, tenant, offset)
        return await self._share(("after", tenant, offset), tenant, read)

    async def _read_items(self, tenant: str, offset: int) -> FeedItems:
        found = await self._reader.changes(tenant, offset)
        return FeedItems(found.offset, [item for item in map(_encode, found.changes) if item])

    async def _share(self, key: Hashable, tenant: str, read: Callable[[], Awaitable[T]]) -> T:
        """Return the result of a read that begins after this call."""
        task = cast("asyncio.Task[T] | None", self._waiting.get(key))
        if task is None:
            task = self._waiting[key] = asyncio.create_task(self._run(key, tenant, read))
            task.add_done_callback(retrieve_exception)  # all waiting viewers may have left
        # A viewer that is cancelled must not cancel the others' read.
        return await asyncio.shield(task)

    async def _run(self, key: Hashable, tenant: str, read: Callable[[], Awaitable[T]]) -> T:
        try:
            async with self._semaphore.permit(tenant, WAIT_SECONDS):
                # The reply may lack changes from here on, so later calls start another read.
                del self._waiting[key]
                return await read()
        except PermitTimeout:
            del self._waiting[key]
            raise redis.TimeoutError(f"the read did not begin in {WAIT_SECONDS:g} s") from None


def _encode(change: Change) -> FeedItem | None:
    """Return a change in its encoded form; None if the job has no documents."""
    offset, job, documents = change
    state = documents and rendered(job, documents)
    if not state:
        return None
    body = b'{"kind":"%b",%b' % (job.kind.encode(), state.body[1:])
    return FeedItem(offset, job, state_block(b"%d" % offset, body))

"""The feed of one tenant, read and encoded once for all live streams of that tenant.

A *ring buffer* holds the last changes in encoded form. A viewer holds only its offset in the feed.
If the offset is older than the ring buffer, the viewer reads the feed itself. Of a job that has
changed several times since a viewer's offset, the viewer gets the latest state only. Used by
`api.live.endpoint`.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import islice

import redis
import structlog

from api.live.channels import PACE_SECONDS
from api.live.feed_reads import FeedItem, FeedReads
from api.live.subscriptions import Subscriptions
from api.live.waiters import Waiter

_LOG = structlog.get_logger(__name__)

MAX_ITEMS = 500
MAX_BYTES = 262_144
"""The limits of a ring buffer; the one that is reached first applies."""

RETRY_SECONDS = 0.5
"""Seconds after which the feed is read again after an error."""

READY_SECONDS = 4.0
"""Seconds that a viewer waits for the first read of its tenant's feed."""


class RingBuffer:
    """The last changes of a tenant, limited by number and bytes.

    Args:
        start: the offset after which it begins.
    """

    def __init__(self, start: int) -> None:
        self.start = self.head = start
        """It holds all changes with an offset greater than `start` and up to `head`."""
        self._items: list[FeedItem] = []
        self._bytes = 0

    def append(self, items: Sequence[FeedItem], upto: int) -> None:
        """Add the changes up to an offset, and remove the oldest ones beyond the limits."""
        self._items += items
        self._bytes += sum(len(item.block) for item in items)
        self.head = upto
        dropped, bytes_ = 0, self._bytes
        while len(self._items) - dropped > MAX_ITEMS or bytes_ > MAX_BYTES:
            bytes_ -= len(self._items[dropped].block)
            dropped += 1
        if dropped:
            self.start = self._items[dropped - 1].offset
            self._bytes = bytes_
            del self._items[:dropped]

    def after(self, offset: int) -> Sequence[FeedItem] | None:
        """Return each job's latest change after an offset; None if the buffer begins later."""
        if offset < self.start:
            return None
        found = self._items[bisect_right(self._items, offset, key=lambda item: item.offset) :]
        if len(found) < 2:
            return found
        latest = {item.job: item.offset for item in found}
        return [item for item in found if latest[item.job] == item.offset]


class TenantFeed:
    """Reads one tenant's feed into a ring buffer while the tenant has viewers."""

    def __init__(self, tenant: str, subscriptions: Subscriptions, reads: FeedReads) -> None:
        self._tenant = tenant
        self._subscriptions = subscriptions
        self._reads = reads
        self._waiter = Waiter()
        self._ready = asyncio.Event()
        self.viewers = set[Waiter]()
        self.recent = RingBuffer(0)
        self.epoch = 0
        """Counts how often offsets became invalid because the server has lost changes."""
        self.task = asyncio.create_task(self._run())

    async def wait_until_ready(self) -> None:
        """Return once the ring buffer has begun.

        Raises:
            redis.RedisError: Redis is unavailable.
        """
        try:
            async with asyncio.timeout(READY_SECONDS):
                await self._ready.wait()
        except TimeoutError:
            raise redis.TimeoutError(f"the feed was not read in {READY_SECONDS} s") from None

    async def _run(self) -> None:
        while True:
            try:
                async with self._subscriptions.watch(self._tenant, None, self._waiter):
                    if not self._ready.is_set():
                        self.recent = RingBuffer(await self._reads.newest(self._tenant))
                        self._ready.set()
                    await self._follow()
            except redis.RedisError as error:
                _LOG.info("feed_unavailable", error=str(error))
            except Exception:  # otherwise the viewers would wait forever
                _LOG.exception("feed_failed")
            await asyncio.sleep(RETRY_SECONDS)
            self._waiter.notify()

    async def _follow(self) -> None:
        while True:
            await self._waiter.wait()
            self._waiter.changed = False
            await self._read()
            # Changes in the meantime are read together, and states that they replace are skipped.
            await asyncio.sleep(len(self.viewers) * PACE_SECONDS)

    async def _read(self) -> None:
        """Read all new changes into the ring buffer."""
        recent = self.recent
        found = await self._reads.after(self._tenant, recent.head)
        if found.offset == recent.head:
            newest = await self._reads.newest(self._tenant)
            if 0 < newest < recent.head:  # the server was replaced by one that lacks changes
                self.recent = RingBuffer(newest)
                self.epoch += 1
                self._notify_viewers()
            return
        while found.offset > recent.head:
            recent.append(found.items, found.offset)
            self._notify_viewers()
            await asyncio.sleep(0)
            found = await self._reads.after(self._tenant, recent.head)

    def _notify_viewers(self) -> None:
        for viewer in self.viewers:
            viewer.notify()


class TenantFeeds:
    """The feeds of all tenants that have viewers."""

    def __init__(self, subscriptions: Subscriptions, reads: FeedReads) -> None:
        self._subscriptions = subscriptions
        self._reads = reads
        self._feeds: dict[str, TenantFeed] = {}

    @asynccontextmanager
    async def watch(self, tenant: str, waiter: Waiter) -> AsyncIterator[TenantFeed]:
        """Yield a tenant's feed, and notify the waiter of its changes during the block.

        Raises:
            redis.RedisError: Redis is unavailable.
        """
        feed = self._feeds.get(tenant)
        if feed is None:
            feed = self._feeds[tenant] = TenantFeed(tenant, self._subscriptions, self._reads)
        feed.viewers.add(waiter)
        try:
            await feed.wait_until_ready()
            yield feed
        finally:
            feed.viewers.discard(waiter)
            if not feed.viewers:
                del self._feeds[tenant]
                feed.task.cancel()


def first_bytes(items: Sequence[FeedItem], limit: int) -> list[FeedItem]:
    """Return the first items, as many as fit into `limit` bytes but at least one."""
    size, fitting = 0, 0
    for item in items:
        size += len(item.block)
        if fitting and size > limit:
            break
        fitting += 1
    return list(islice(items, fitting))

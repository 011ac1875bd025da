"""One tenant's changes, read and written once for all who watch the tenant.

A *ring* keeps the last changes as they are sent. A viewer keeps nothing but its position in the
feed: who is behind the ring reads the feed itself, and of a job that changed more than once since
then, everybody gets the latest state alone.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import islice

import redis
import structlog

from api.live.feed_reads import FeedReads, Item
from api.live.subscriptions import PACE_SECONDS, Hub
from api.live.waiters import Bell

_LOG = structlog.get_logger(__name__)

RING_ITEMS = 500
RING_BYTES = 262_144
RETRY_SECONDS = 0.5
"""Until the feed is read again where Redis was away."""
READY_SECONDS = 4.0


class Ring:
    """The last changes of a tenant, as many as fit."""

    def __init__(self, start: int) -> None:
        self.start = self.head = start
        """It has all changes from the one to the other, `start` itself not included."""
        self._items: list[Item] = []
        self._bytes = 0

    def append(self, items: Sequence[Item], upto: int) -> None:
        """Take the changes up to a position."""
        self._items += items
        self._bytes += sum(len(item.block) for item in items)
        self.head = upto
        dropped, bytes_ = 0, self._bytes
        while len(self._items) - dropped > RING_ITEMS or bytes_ > RING_BYTES:
            bytes_ -= len(self._items[dropped].block)
            dropped += 1
        if dropped:
            self.start = self._items[dropped - 1].position
            self._bytes = bytes_
            del self._items[:dropped]

    def after(self, position: int) -> Sequence[Item] | None:
        """Give each job's latest change after a position; None where the ring begins later."""
        if position < self.start:
            return None
        found = self._items[bisect_right(self._items, position, key=lambda item: item.position) :]
        if len(found) < 2:
            return found
        latest = {item.job: item.position for item in found}
        return [item for item in found if latest[item.job] == item.position]


class TenantFeed:
    """Follows one tenant's feed while somebody watches it."""

    def __init__(self, tenant: str, hub: Hub, reads: FeedReads) -> None:
        self._tenant = tenant
        self._hub = hub
        self._reads = reads
        self._bell = Bell()
        self._ready = asyncio.Event()
        self.viewers = set[Bell]()
        self.ring = Ring(0)
        self.epoch = 0
        """Counts how often positions lost their meaning: the server knows less than it did."""
        self.task = asyncio.create_task(self._run())

    async def ready(self) -> None:
        """Wait until it follows.

        Raises:
            redis.RedisError: Redis is away.
        """
        try:
            async with asyncio.timeout(READY_SECONDS):
                await self._ready.wait()
        except TimeoutError:
            raise redis.TimeoutError(f"no feed within {READY_SECONDS} s") from None

    async def _run(self) -> None:
        while True:
            try:
                async with self._hub.watching(self._tenant, None, self._bell):
                    if not self._ready.is_set():
                        self.ring = Ring(await self._reads.newest(self._tenant))
                        self._ready.set()
                    await self._follow()
            except redis.RedisError as error:
                _LOG.info("feed_unavailable", error=str(error))
            except Exception:  # its viewers would wait for ever
                _LOG.exception("feed_failed")
            await asyncio.sleep(RETRY_SECONDS)
            self._bell.ring()

    async def _follow(self) -> None:
        while True:
            await self._bell.wait()
            self._bell.changed = False
            await self._read()
            # What changes meanwhile is read at once, and its older states are skipped.
            await asyncio.sleep(len(self.viewers) * PACE_SECONDS)

    async def _read(self) -> None:
        """Read all that is new into the ring."""
        ring = self.ring
        found = await self._reads.after(self._tenant, ring.head)
        if found.upto == ring.head:
            newest = await self._reads.newest(self._tenant)
            if 0 < newest < ring.head:  # a server that knows less took over
                self.ring = Ring(newest)
                self.epoch += 1
                self._ring_all()
            return
        while found.upto > ring.head:
            ring.append(found.items, found.upto)
            self._ring_all()
            await asyncio.sleep(0)
            found = await self._reads.after(self._tenant, ring.head)

    def _ring_all(self) -> None:
        for viewer in self.viewers:
            viewer.ring()


class TenantFeeds:
    """The feeds that somebody watches."""

    def __init__(self, hub: Hub, reads: FeedReads) -> None:
        self._hub = hub
        self._reads = reads
        self._feeds: dict[str, TenantFeed] = {}

    @asynccontextmanager
    async def watching(self, tenant: str, bell: Bell) -> AsyncIterator[TenantFeed]:
        """Follow a tenant's feed; the bell rings when its ring has grown.

        Raises:
            redis.RedisError: Redis is away.
        """
        feed = self._feeds.get(tenant)
        if feed is None:
            feed = self._feeds[tenant] = TenantFeed(tenant, self._hub, self._reads)
        feed.viewers.add(bell)
        try:
            await feed.ready()
            yield feed
        finally:
            feed.viewers.discard(bell)
            if not feed.viewers:
                del self._feeds[tenant]
                feed.task.cancel()


def first_bytes(items: Sequence[Item], limit: int) -> list[Item]:
    """Give as many of the first items as fit into so many bytes, one at the least."""
    size, fits = 0, 0
    for item in items:
        size += len(item.block)
        if fits and size > limit:
            break
        fits += 1
    return list(islice(items, fits))

"""Reads of tenants' feeds: few at a time, by turns between tenants, and shared.

Streams open by the hundred when a server or a network comes back, and each begins with reads. Were
they sent all at once, they would take every connection to Redis, and polls would be refused. So
they wait for turns; a read that still waits is shared by all who ask for the same meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar, cast

import redis
from psycopg_pool import PoolTimeout

from api.answers.rendered import rendered
from api.live.sse import state_block
from api.live.waiters import MAX_VIEWERS
from api.scheduling.connection_turns import Turns
from projections.reading.feed import Change, FeedReader
from streams.keys import JobKey

T = TypeVar("T")

READS_AT_ONCE = 4
"""Also the connections to Redis that they take."""

TURN_SECONDS = 5.0
"""The time a read may wait for its turn before its viewers are told that Redis is away."""


class Item(NamedTuple):
    """A change as it is sent."""

    position: int
    job: JobKey
    block: bytes


class Items(NamedTuple):
    """Changes after a position, oldest first."""

    upto: int
    """Everything up to here has been read."""
    items: Sequence[Item]


class FeedReads:
    """Reads feeds; use it from one event loop.

    All methods raise redis.RedisError where Redis is away or refuses.
    """

    def __init__(self, reader: FeedReader) -> None:
        self._reader = reader
        self._turns = Turns(READS_AT_ONCE, most_waiting=MAX_VIEWERS)
        self._waiting: dict[Hashable, asyncio.Task[Any]] = {}

    async def newest(self, tenant: str, nth: int = 1) -> int:
        """Return the position of the nth newest change; 0 where there are not so many."""
        read = partial(self._reader.newest, tenant, nth)
        return await self._shared(("newest", tenant, nth), tenant, read)

    async def after(self, tenant: str, position: int) -> Items:
        """Return what changed after a position, as it is sent."""
        read = partial(self._items, tenant, position)
        return await self._shared(("after", tenant, position), tenant, read)

    async def _items(self, tenant: str, position: int) -> Items:
        found = await self._reader.changes(tenant, position)
        return Items(found.upto, [item for item in map(_item, found.changes) if item])

    async def _shared(self, key: Hashable, tenant: str, read: Callable[[], Awaitable[T]]) -> T:
        """Return the outcome of a read that begins after this call."""
        task = cast("asyncio.Task[T] | None", self._waiting.get(key))
        if task is None:
            task = self._waiting[key] = asyncio.create_task(self._in_turn(key, tenant, read))
            task.add_done_callback(_retrieve)
        # A viewer that goes away does not take the others' read along.
        return await asyncio.shield(task)

    async def _in_turn(self, key: Hashable, tenant: str, read: Callable[[], Awaitable[T]]) -> T:
        try:
            async with self._turns.turn(tenant, TURN_SECONDS):
                # What changes from here on may not be in the reply: later calls read again.
                del self._waiting[key]
                return await read()
        except PoolTimeout:
            del self._waiting[key]
            raise redis.TimeoutError(f"no turn within {TURN_SECONDS:g} s") from None


def _item(change: Change) -> Item | None:
    """Return a change as it is sent; None where the job is gone."""
    position, job, documents = change
    state = documents and rendered(job, documents)
    if not state:
        return None
    body = b'{"kind":"%b",%b' % (job.kind.encode(), state.body[1:])
    return Item(position, job, state_block(b"%d" % position, body))


def _retrieve(task: asyncio.Task[T]) -> None:
    """Retrieve an error that nobody may wait for any more, or asyncio would log it."""
    if not task.cancelled():
        task.exception()

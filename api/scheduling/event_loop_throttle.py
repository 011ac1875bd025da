"""A throttle that keeps short requests fast while thousands of viewers connect at once.

A *viewer* is a request that stays open: a long poll or a live stream. The event loop runs what is
ready in the order of arrival. When a server comes back, all viewers reconnect at the same time, and
a short request would wait for all that arrived before it. Therefore each viewer passes this
throttle when it connects, and long polls and live streams of a job also after each read: a few in
each iteration of the event loop, tenant by tenant in rotation. A short request takes several
iterations and meets only a few viewers in each of them. `api.live.feed_reads` limits the reads of
the live streams of tenants.

Viewers must not pass it again between a change and the read that follows it, because reads of one
iteration share one command to Redis. Used by `api.app`, `api.live.endpoint` and
`api.progress.long_polls`.
"""

from __future__ import annotations

import asyncio
from collections import deque

ADMITTED_PER_ITERATION = 2
"""Few, because a short request takes about ten iterations. Nobody waits while no more arrive."""

_Waiter = asyncio.Future[None]


class EventLoopThrottle:
    """Admits a few viewers in each iteration of the event loop that it is used from.

    It refuses nobody and waits for nothing but the event loop.
    """

    def __init__(self, size: int = ADMITTED_PER_ITERATION) -> None:
        self._size = size
        self._left = size
        """The number of viewers that this iteration may still admit."""
        self._end_scheduled = False
        """True once the end of this iteration is scheduled."""
        self._queues: dict[str, deque[_Waiter]] = {}
        """By tenant, in the order in which tenants are served."""

    @property
    def waiting(self) -> int:
        """The number of waiting viewers."""
        return sum(map(len, self._queues.values()))

    async def admit(self, tenant: str) -> None:
        """Return when a viewer of the tenant may continue; at once while there are few viewers."""
        loop = asyncio.get_running_loop()
        self._schedule_end(loop)
        if self._left and not self._queues:
            self._left -= 1
            return
        waiter: _Waiter = loop.create_future()
        self._queues.setdefault(tenant, deque()).append(waiter)
        await waiter  # if it is cancelled, `_begin_iteration` skips it

    def _schedule_end(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._end_scheduled:
            self._end_scheduled = True
            loop.call_soon(self._begin_iteration, loop)

    def _begin_iteration(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin a new iteration: admit the first waiting viewers."""
        self._end_scheduled = False
        self._left = self._size
        while self._left and self._queues:
            waiter = self._next()
            if not waiter.done():
                self._left -= 1
                waiter.set_result(None)
        if self._left < self._size:
            self._schedule_end(loop)

    def _next(self) -> _Waiter:
        """Remove and return the next tenant's first waiter; the tenant goes to the end."""
        tenant = next(iter(self._queues))
        queue = self._queues.pop(tenant)
        waiter = queue.popleft()
        if queue:
            self._queues[tenant] = queue
        return waiter

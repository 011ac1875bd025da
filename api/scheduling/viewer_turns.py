"""The work of viewers in small portions, so that polls are answered between them.

The event loop serves what is ready in the order of arrival. When a server comes back, thousands of
streams and waiting polls come back at once, and a poll would wait for all that arrived before it.
So viewers pass through here when they come, and after each read: a few in each turn of the loop,
tenant by tenant in rotation. A poll takes some turns of the loop, and meets a few viewers in each,
however many wait. Not before reads of changes: those of one turn share a command to Redis.
"""

from __future__ import annotations

import asyncio
from collections import deque

VIEWERS_EACH_TURN = 2
"""Few, as a poll takes about ten turns of the loop; no viewer waits while there are not more."""

_Waiter = asyncio.Future[None]


class Portions:
    """Lets a few viewers go on in each turn of the event loop that it is used from.

    Nobody is refused, and nothing but the event loop is waited for.
    """

    def __init__(self, size: int = VIEWERS_EACH_TURN) -> None:
        self._size = size
        self._left = size
        """Viewers that may still go on in this turn."""
        self._turn_ends = False
        """True once the end of this turn is scheduled."""
        self._waiting: dict[str, deque[_Waiter]] = {}
        """By tenant, in the order in which tenants are served."""

    @property
    def waiting(self) -> int:
        """The number of waiting viewers."""
        return sum(map(len, self._waiting.values()))

    async def join(self, tenant: str) -> None:
        """Wait until a viewer of the tenant may go on: at once while few do."""
        loop = asyncio.get_running_loop()
        self._end_turn_later(loop)
        if self._left and not self._waiting:
            self._left -= 1
            return
        waiter: _Waiter = loop.create_future()
        self._waiting.setdefault(tenant, deque()).append(waiter)
        await waiter  # a cancelled one is passed over

    def _end_turn_later(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._turn_ends:
            self._turn_ends = True
            loop.call_soon(self._end_turn, loop)

    def _end_turn(self, loop: asyncio.AbstractEventLoop) -> None:
        self._turn_ends = False
        self._left = self._size
        while self._left and self._waiting:
            waiter = self._next()
            if not waiter.done():
                self._left -= 1
                waiter.set_result(None)
        if self._left < self._size:
            self._end_turn_later(loop)

    def _next(self) -> _Waiter:
        """Take the first waiter of the tenant whose turn it is, and put the tenant last."""
        tenant = next(iter(self._waiting))
        queue = self._waiting.pop(tenant)
        waiter = queue.popleft()
        if queue:
            self._waiting[tenant] = queue
        return waiter

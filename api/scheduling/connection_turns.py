"""Turns at a few connections, shared fairly between tenants.

No tenant has more than its *share* of them at a time, so that the others find some free, however
much it asks for. Who must wait is served tenant by tenant in rotation, and waits for so long at
most.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

from psycopg_pool import PoolTimeout, TooManyRequests

_Waiter = asyncio.Future[None]


class Turns:
    """Turns for `size` holders at a time; use it from one event loop.

    Args:
        most_waiting: how many of one tenant may wait.
    """

    def __init__(self, size: int, *, most_waiting: int) -> None:
        self.share = (size + 1) // 2
        """The number of turns that one tenant may hold."""
        self._free = size
        self._most_waiting = most_waiting
        self._held: Counter[Hashable] = Counter()
        self._waiting: dict[Hashable, deque[_Waiter]] = {}
        """By tenant, in the order in which tenants are served."""

    @property
    def waiting(self) -> int:
        """The number of waiting callers."""
        return sum(map(len, self._waiting.values()))

    @asynccontextmanager
    async def turn(self, tenant: Hashable, seconds: float) -> AsyncIterator[None]:
        """Have a turn, after `seconds` of waiting at most.

        Raises:
            PoolTimeout: there was none in that time.
            TooManyRequests: too many of this tenant wait already.
        """
        await self._take(tenant, seconds)
        try:
            yield
        finally:
            self._give_back(tenant)

    async def _take(self, tenant: Hashable, seconds: float) -> None:
        if self._free and self._held[tenant] < self.share:
            self._grant(tenant)
            return
        queue = self._waiting.setdefault(tenant, deque())
        if len(queue) >= self._most_waiting:
            raise TooManyRequests(f"{len(queue)} reads of this tenant wait already")
        waiter: _Waiter = asyncio.get_running_loop().create_future()
        queue.append(waiter)
        try:
            async with asyncio.timeout(seconds):
                await waiter
        except BaseException as error:
            self._withdraw(tenant, waiter)
            if isinstance(error, TimeoutError):
                raise PoolTimeout(f"no turn within {seconds:g} s") from None
            raise

    def _withdraw(self, tenant: Hashable, waiter: _Waiter) -> None:
        """Undo a wait that was interrupted, perhaps in the moment in which it was over."""
        if waiter.done() and not waiter.cancelled():
            self._give_back(tenant)
            return
        queue = self._waiting.get(tenant, deque())
        if waiter in queue:  # `_serve_next` may have passed over it
            queue.remove(waiter)
            if not queue:
                del self._waiting[tenant]

    def _grant(self, tenant: Hashable) -> None:
        self._free -= 1
        self._held[tenant] += 1

    def _give_back(self, tenant: Hashable) -> None:
        self._free += 1
        self._held[tenant] -= 1
        if not self._held[tenant]:
            del self._held[tenant]
        self._serve_next()

    def _serve_next(self) -> None:
        """Assign a free turn to the next tenant in rotation that may have one."""
        while self._free and (found := self._next_tenant()) is not None:
            tenant, queue = found
            del self._waiting[tenant]
            waiter = queue.popleft()
            if queue:
                self._waiting[tenant] = queue  # behind the others
            if not waiter.done():
                self._grant(tenant)
                waiter.set_result(None)

    def _next_tenant(self) -> tuple[Hashable, deque[_Waiter]] | None:
        for tenant, queue in self._waiting.items():
            if self._held[tenant] < self.share:
                return tenant, queue
        return None

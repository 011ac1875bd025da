"""A semaphore that is shared fairly between tenants.

Used for reads of PostgreSQL (`api.jobs.database`) and of tenants' feeds (`api.live.feed_reads`). No
tenant holds more than its *share* of the permits at a time, so that some stay free for the others
whatever its load. Waiting callers get permits tenant by tenant in rotation, or a timeout. Used by
`api.jobs.database`, `api.jobs.job_reads` and `api.live.feed_reads`.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

_Waiter = asyncio.Future[None]


class NotAdmitted(Exception):
    """The caller did not get a permit."""


class PermitTimeout(NotAdmitted):
    """No permit became free in time."""


class QueueFull(NotAdmitted):
    """Too many callers of the tenant are waiting already."""


class FairSemaphore:
    """A semaphore with one queue for each tenant; for use from one event loop.

    Args:
        size: the number of permits.
        max_waiting: the most callers of one tenant that may wait.
    """

    def __init__(self, size: int, *, max_waiting: int) -> None:
        self.share = (size + 1) // 2
        """The number of permits that one tenant may hold."""
        self._free = size
        self._max_waiting = max_waiting
        self._held: Counter[Hashable] = Counter()
        self._queues: dict[Hashable, deque[_Waiter]] = {}
        """By tenant, in the order in which tenants are served."""

    @property
    def waiting(self) -> int:
        """The number of waiting callers."""
        return sum(map(len, self._queues.values()))

    @asynccontextmanager
    async def permit(self, tenant: Hashable, seconds: float) -> AsyncIterator[None]:
        """Hold a permit during the block, after waiting for at most `seconds`.

        Raises:
            PermitTimeout: no permit became free in that time.
            QueueFull: `max_waiting` callers of this tenant wait already.
        """
        await self._acquire(tenant, seconds)
        try:
            yield
        finally:
            self._release(tenant)

    async def _acquire(self, tenant: Hashable, seconds: float) -> None:
        if self._free and self._held[tenant] < self.share:
            self._grant(tenant)
            return
        queue = self._queues.setdefault(tenant, deque())
        if len(queue) >= self._max_waiting:
            raise QueueFull(f"{len(queue)} reads of this tenant are waiting already")
        waiter: _Waiter = asyncio.get_running_loop().create_future()
        queue.append(waiter)
        try:
            async with asyncio.timeout(seconds):
                await waiter
        except BaseException as error:
            self._withdraw(tenant, waiter)
            if isinstance(error, TimeoutError):
                raise PermitTimeout(f"no connection became free in {seconds:g} s") from None
            raise

    def _withdraw(self, tenant: Hashable, waiter: _Waiter) -> None:
        """Undo an interrupted wait, which may have been granted a permit at the same moment."""
        if waiter.done() and not waiter.cancelled():
            self._release(tenant)
            return
        queue = self._queues.get(tenant, deque())
        if waiter in queue:  # `_grant_next` may have removed it
            queue.remove(waiter)
            if not queue:
                del self._queues[tenant]

    def _grant(self, tenant: Hashable) -> None:
        self._free -= 1
        self._held[tenant] += 1

    def _release(self, tenant: Hashable) -> None:
        self._free += 1
        self._held[tenant] -= 1
        if not self._held[tenant]:
            del self._held[tenant]
        self._grant_next()

    def _grant_next(self) -> None:
        """Grant free permits to the next tenants in rotation that hold less than their share."""
        while self._free and (found := self._next_tenant()) is not None:
            tenant, queue = found
            del self._queues[tenant]
            waiter = queue.popleft()
            if queue:
                self._queues[tenant] = queue  # behind the others
            if not waiter.done():
                self._grant(tenant)
                waiter.set_result(None)

    def _next_tenant(self) -> tuple[Hashable, deque[_Waiter]] | None:
        for tenant, queue in self._queues.items():
            if self._held[tenant] < self.share:
                return tenant, queue
        return None

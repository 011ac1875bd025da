"""The long polls and live streams of this process: their waiting, their number and their end.

A *viewer* is a request that stays open: a long poll or a live stream. Each viewer has a `Waiter`,
which is notified when there may be something to do. Notifications are not queued: however many
arrive, the viewer checks once, so its memory use does not depend on the number of changes. Used by
`api.app`, `api.live` and `api.progress.long_polls`, and by `api.server` to end them all.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from starlette.types import Receive

from api.access.limits import TooManyRequests
from api.http.problems import TryLater
from api.metrics import LIVE_STREAMS, LONG_POLLS

HEARTBEAT_SECONDS = 10
"""Seconds between two comment lines in a live stream without changes."""

STALLED_SECONDS = 30.0
"""A client that accepts no data for this long is disconnected; when it reconnects, it gets the
states that it missed."""

STOP_SECONDS = 1.0
"""While the process stops, the time that a client has to accept the data that is being sent."""

MAX_STREAM_SECONDS = 3_600
"""A live stream ends after this time, or soon after its token expires. The client reconnects at
once, and its token is verified again."""

MAX_VIEWERS = 12_000
"""The most viewers of one process. It is less than the connections that the server accepts, so that
other requests are still served."""


class Waiter:
    """Wakes one viewer. Its flags hold the reasons; the viewer resets those that it handled.

    Args:
        expires: when the viewer's token expires, in seconds since 1970.
    """

    __slots__ = (
        "_expires",
        "_future",
        "_heartbeats",
        "_sending_since",
        "_task",
        "changed",
        "dropped",
        "finished",
        "heartbeat_due",
    )

    def __init__(self, expires: float = math.inf) -> None:
        self.changed = False
        """The state may have changed."""
        self.heartbeat_due = False
        """A comment line is due."""
        self.finished = False
        """The client has disconnected, the time limit has passed, or the process is stopping."""
        self.dropped = False
        """The client accepted no data for too long, and the sending task was cancelled."""
        self._heartbeats = 0
        self._expires = expires
        self._future: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._sending_since = 0.0

    def notify(self) -> None:
        """Wake the viewer because the state may have changed."""
        self.changed = True
        self._wake()

    def finish(self) -> None:
        """Wake the viewer, which then ends."""
        self.finished = True
        self._wake()

    async def wait(self) -> None:
        """Return when a flag is set; at once if one is set already."""
        if self.changed or self.heartbeat_due or self.finished:
            return
        self._future = asyncio.get_running_loop().create_future()
        try:
            await self._future
        finally:
            self._future = None

    def set_sending(self, task: asyncio.Task[None] | None, now: float) -> None:
        """Record the task that sends data from `now` on, or None when it has finished."""
        self._task, self._sending_since = task, now

    def drop_if_stalled(self, now: float) -> None:
        """Cancel the sending task if the client has accepted no data for `STALLED_SECONDS`."""
        if now - self._sending_since > STALLED_SECONDS:
            self.drop_if_sending()

    def drop_if_sending(self) -> None:
        """Cancel the sending task if data is being sent."""
        if self._task is not None:
            self.dropped = True
            self._task.cancel()

    def on_heartbeat(self, now: float) -> None:
        """Handle one heartbeat of the common timer, at `now` on the event loop's clock."""
        self._heartbeats += 1
        if self._task is not None:
            self.drop_if_stalled(now)
            return
        too_old = self._heartbeats * HEARTBEAT_SECONDS >= MAX_STREAM_SECONDS
        if too_old or time.time() >= self._expires:
            self.finished = True
        self.heartbeat_due = True
        self._wake()

    def _wake(self) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_result(None)


class Waiters:
    """The registry of all waiters of this process.

    Args:
        max_per_tenant: the most viewers that one tenant may have at a time.
    """

    def __init__(self, max_per_tenant: int) -> None:
        self._max_per_tenant = max_per_tenant
        self._by_tenant = Counter[str]()
        self._waiters = set[Waiter]()
        self._slots: list[set[Waiter]] = [set() for _ in range(HEARTBEAT_SECONDS)]
        """Waiters with heartbeats, by the second in which theirs is due."""
        self._next_slot = count()
        self._stopping = False

    def __len__(self) -> int:
        return len(self._waiters)

    @contextmanager
    def register(
        self, tenant: str, *, heartbeats: bool = False, expires: float = math.inf
    ) -> Iterator[Waiter]:
        """Register a viewer during the block, and yield its waiter.

        Args:
            tenant: the viewer's tenant.
            heartbeats: whether the waiter gets heartbeats, as live streams need.
            expires: seconds since 1970; the first heartbeat after it ends the viewer.

        Raises:
            TooManyRequests: the tenant has its maximum of viewers.
            TryLater: the process has its maximum of viewers.
        """
        if self._by_tenant[tenant] >= self._max_per_tenant:
            raise TooManyRequests(1)
        if len(self._waiters) >= MAX_VIEWERS:
            raise TryLater
        waiter = Waiter(expires)
        waiter.finished = self._stopping
        slot = self._add(tenant, waiter, heartbeats=heartbeats)
        try:
            with (LIVE_STREAMS if heartbeats else LONG_POLLS).track_inprogress():
                yield waiter
        finally:
            self._remove(tenant, waiter, slot)

    def _add(self, tenant: str, waiter: Waiter, *, heartbeats: bool) -> set[Waiter]:
        """Add a waiter and return its slot of the timer."""
        slot = self._slots[next(self._next_slot) % HEARTBEAT_SECONDS]
        self._by_tenant[tenant] += 1
        self._waiters.add(waiter)
        if heartbeats:
            slot.add(waiter)
        return slot

    def _remove(self, tenant: str, waiter: Waiter, slot: set[Waiter]) -> None:
        slot.discard(waiter)
        self._waiters.discard(waiter)
        self._by_tenant[tenant] -= 1
        if not self._by_tenant[tenant]:
            del self._by_tenant[tenant]

    def stop(self) -> None:
        """End all viewers, present and future ones; each one sends its answer first."""
        self._stopping = True
        for waiter in self._waiters:
            waiter.finish()
        asyncio.get_running_loop().call_later(STOP_SECONDS, self._drop_sending)

    def _drop_sending(self) -> None:
        for waiter in self._waiters:
            waiter.drop_if_sending()

    async def run_heartbeats(self) -> None:
        """Run the common timer until cancelled: one slot of waiters each second."""
        loop = asyncio.get_running_loop()
        for second in count():
            await asyncio.sleep(1)
            for waiter in list(self._slots[second % HEARTBEAT_SECONDS]):
                waiter.on_heartbeat(loop.time())


async def finish_on_disconnect(receive: Receive, waiter: Waiter) -> None:
    """Finish the waiter when its client disconnects."""
    while (await receive())["type"] != "http.disconnect":
        pass
    waiter.finish()

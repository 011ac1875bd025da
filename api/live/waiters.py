"""Who waits for changes: a bell for each, one timer for all, and how many there may be.

A *viewer* is one request that stays: a poll that waits, or a stream of events. Each has a *bell*,
which is rung when there may be something to do; however often it is rung meanwhile, the viewer
looks once. So a viewer takes the same memory however much happens.
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
from api.metrics import OPEN_STREAMS, WAITING

BEAT_SECONDS = 10
"""Between two comment lines of a stream in which nothing happens."""

STALLED_SECONDS = 30.0
"""A client that takes nothing for so long is cut off; what it missed it gets when it comes back."""

STOP_SECONDS = 1.0
"""The same while the process stops."""

LONGEST_SECONDS = 3_600
"""A stream ends after so long, or soon after its token expires: the client comes back at once, and
its token is looked at again."""

MAX_VIEWERS = 12_000
"""In one process, of all tenants: below what the server takes at once, so that others get in."""


class Bell:
    """Rung for one viewer. Why it was rung, its flags say; the viewer takes them back."""

    __slots__ = (
        "_beats",
        "_expires",
        "_sending_since",
        "_task",
        "_waiter",
        "beat",
        "changed",
        "dropped",
        "over",
    )

    def __init__(self, expires: float = math.inf) -> None:
        self.changed = False
        """Something may be new."""
        self.beat = False
        """It is time for a comment line."""
        self.over = False
        """The client is gone, the time is over, or the process stops."""
        self.dropped = False
        """The client takes nothing, and the viewer's task was cancelled for it."""
        self._beats = 0
        self._expires = expires
        self._waiter: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._sending_since = 0.0

    def ring(self) -> None:
        """Say that something may be new."""
        self.changed = True
        self._wake()

    def end(self) -> None:
        """Say that it is over."""
        self.over = True
        self._wake()

    async def wait(self) -> None:
        """Wait until it is rung, or has been."""
        if self.changed or self.beat or self.over:
            return
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def sending(self, task: asyncio.Task[None] | None, now: float) -> None:
        """Say which task sends from now on, or that none does."""
        self._task, self._sending_since = task, now

    def drop_if_sending(self, now: float = math.inf) -> None:
        """Cut the client off if it has taken nothing for too long by now."""
        if self._task is not None and now - self._sending_since > STALLED_SECONDS:
            self.dropped = True
            self._task.cancel()

    def tick(self, now: float) -> None:
        """Take one beat of the common timer."""
        self._beats += 1
        if self._task is not None:
            self.drop_if_sending(now)
            return
        if self._beats * BEAT_SECONDS >= LONGEST_SECONDS or time.time() >= self._expires:
            self.over = True
        self.beat = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Viewers:
    """All viewers of this process.

    Args:
        max_per_tenant: how many one tenant may have at once.
    """

    def __init__(self, max_per_tenant: int) -> None:
        self._max_per_tenant = max_per_tenant
        self._tenants = Counter[str]()
        self._bells = set[Bell]()
        self._slots: list[set[Bell]] = [set() for _ in range(BEAT_SECONDS)]
        self._next_slot = count()
        self._stopping = False

    def __len__(self) -> int:
        return len(self._bells)

    @contextmanager
    def enter(
        self, tenant: str, *, beats: bool = False, expires: float = math.inf
    ) -> Iterator[Bell]:
        """Let a viewer in and yield its bell.

        `beats`: it takes the timer's beats too, of which the first after `expires` (in seconds
        since 1970) ends it.

        Raises:
            TooManyRequests: the tenant has as many as it may.
            TryLater: the process has.
        """
        if self._tenants[tenant] >= self._max_per_tenant:
            raise TooManyRequests(1)
        if len(self._bells) >= MAX_VIEWERS:
            raise TryLater
        bell, slot = Bell(expires), next(self._next_slot) % BEAT_SECONDS
        bell.over = self._stopping
        self._tenants[tenant] += 1
        self._bells.add(bell)
        if beats:
            self._slots[slot].add(bell)
        try:
            with (OPEN_STREAMS if beats else WAITING).track_inprogress():
                yield bell
        finally:
            self._slots[slot].discard(bell)
            self._bells.discard(bell)
            self._tenants[tenant] -= 1
            if not self._tenants[tenant]:
                del self._tenants[tenant]

    def stop(self) -> None:
        """Let all viewers answer and end, those to come too."""
        self._stopping = True
        for bell in self._bells:
            bell.end()
        asyncio.get_running_loop().call_later(STOP_SECONDS, self._drop_sending)

    def _drop_sending(self) -> None:
        for bell in self._bells:
            bell.drop_if_sending()

    async def beat(self) -> None:
        """Be the timer, until cancelled: each second a part of the viewers has its beat."""
        loop = asyncio.get_running_loop()
        for second in count():
            await asyncio.sleep(1)
            for bell in list(self._slots[second % BEAT_SECONDS]):
                bell.tick(loop.time())


async def until_gone(receive: Receive, bell: Bell) -> None:
    """Wait until the client is gone, and ring the bell then."""
    while (await receive())["type"] != "http.disconnect":
        pass
    bell.end()

"""The hub: one connection to Redis by which this process hears of changes, whoever waits for them.

There is one subscription a tenant, however many bells hang there. It begins with the first, and
ends some seconds after the last was taken down. Whatever may have been missed (the connection was
lost, the server is another), every bell rings once it is back.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import redis
import redis.asyncio
import structlog

from api.live.waiters import Bell
from api.metrics import FEED_MESSAGES, FEED_SUBSCRIPTIONS
from projections.reading.feed import named_in
from streams.connection import refused_servers, refuses_writes
from streams.keys import Keys

_LOG = structlog.get_logger(__name__)

SUBSCRIBE_SECONDS = 2.0
"""How long a subscription may take before its viewer is told that Redis is away."""
PING_SECONDS = 5.0
"""A connection on which nothing came for two of these is no longer one. Also how long a
subscription without bells is kept: who polls comes back at once."""
FIRST_BACKOFF, LAST_BACKOFF = 0.05, 1.0
PACE_SECONDS = 0.000_1
"""For each viewer, that changes are held back: a job with a thousand viewers is shown ten times a
second, one with few whenever it changes."""
PACED_FROM = 10
"""Viewers."""


class _Topic:
    """The bells of one tenant."""

    def __init__(self) -> None:
        self.every = set[Bell]()
        """Those that ring for every change."""
        self.named: dict[str, set[Bell]] = {}
        self.subscribed = False
        self.was_lost = False
        self.waiting = set[asyncio.Future[None]]()
        self.idle_since = time.monotonic()
        self._held_back = set[str]()

    @property
    def unused(self) -> bool:
        """Whether no bell hangs here, nor is about to."""
        return not (self.every or self.named or self.waiting)

    def hang(self, bell: Bell, name: str | None) -> None:
        (self.every if name is None else self.named.setdefault(name, set())).add(bell)

    def take_down(self, bell: Bell, name: str | None) -> None:
        if name is None:
            self.every.discard(bell)
        elif name in self.named:
            self.named[name].discard(bell)
            if not self.named[name]:
                del self.named[name]
        self.idle_since = time.monotonic()

    def told(self, names: Iterable[str]) -> None:
        """Ring for changes."""
        _ring(self.every)
        if not self.named:
            return
        for name in names:
            bells = self.named.get(name)
            if bells is None or name in self._held_back:
                continue
            if len(bells) < PACED_FROM:
                _ring(bells)
            else:
                self._held_back.add(name)
                delay = len(bells) * PACE_SECONDS
                asyncio.get_running_loop().call_later(delay, self._ring_held_back, name)

    def confirm(self) -> None:
        """Begin: whoever waited for that goes on, and who was here before looks again."""
        self.subscribed = True
        for waiter in self.waiting:
            if not waiter.done():
                waiter.set_result(None)
        if self.was_lost:
            self.was_lost = False
            _ring(self.every)
            for bells in self.named.values():
                _ring(bells)

    def lose(self) -> None:
        self.was_lost |= self.subscribed
        self.subscribed = False

    def _ring_held_back(self, name: str) -> None:
        self._held_back.discard(name)
        _ring(self.named.get(name, ()))


class Hub:
    """Rings bells for changes; use it from one event loop, in which `run` runs."""

    def __init__(self, client: redis.asyncio.Redis, keys: Keys | None = None) -> None:
        self._client = client
        self._keys = keys or Keys()
        self._topics: dict[str, _Topic] = {}
        """By channel."""
        self._asked = set[str]()
        """Channels that this connection was told to subscribe."""
        self._stale = asyncio.Event()
        self._heard_at = 0.0

    @asynccontextmanager
    async def watching(self, tenant: str, name: str | None, bell: Bell) -> AsyncIterator[None]:
        """Hang up a bell for one job by its name in the feed, or for all of the tenant's.

        What changes after the begin of the block rings it.

        Raises:
            redis.RedisError: Redis is away.
        """
        channel = self._keys.feed(tenant)
        topic = self._topics.get(channel)
        if topic is None:
            topic = self._topics[channel] = _Topic()
            self._stale.set()
        topic.hang(bell, name)
        try:
            if not topic.subscribed:
                await self._subscribed(topic)
            yield
        finally:
            topic.take_down(bell, name)

    async def run(self) -> None:
        """Keep the connection and its subscriptions, until cancelled."""
        backoff = FIRST_BACKOFF
        while True:
            began = time.monotonic()
            pool: Any = self._client.connection_pool  # in part without type hints
            connection = pool.make_connection()
            try:
                await self._serve(connection)
            except (redis.RedisError, OSError) as error:
                _LOG.info("feed_connection_lost", error=str(error))
            finally:
                self._asked.clear()
                FEED_SUBSCRIPTIONS.set(0)
                for topic in self._topics.values():
                    topic.lose()
                await connection.disconnect(nowait=True)
            backoff = FIRST_BACKOFF if time.monotonic() - began > LAST_BACKOFF else backoff * 2
            await asyncio.sleep(min(backoff, LAST_BACKOFF))

    async def _subscribed(self, topic: _Topic) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        topic.waiting.add(waiter)
        try:
            async with asyncio.timeout(SUBSCRIBE_SECONDS):
                await waiter
        except TimeoutError:
            raise redis.TimeoutError(f"not subscribed within {SUBSCRIBE_SECONDS} s") from None
        finally:
            topic.waiting.discard(waiter)

    async def _serve(self, connection: Any) -> None:
        """Listen on one connection until it is lost."""
        async with asyncio.timeout(SUBSCRIBE_SECONDS):
            await connection.connect()
        self._heard_at = time.monotonic()
        self._stale.set()
        asking = asyncio.create_task(self._ask(connection))
        try:
            while True:
                self._heard(await next_reply(connection))
        finally:
            asking.cancel()

    async def _ask(self, connection: Any) -> None:
        """Keep the subscriptions those that are wanted, and see that the connection lives."""
        refused = refused_servers(self._client)
        try:
            while True:
                try:
                    async with asyncio.timeout(PING_SECONDS):
                        await self._stale.wait()
                except TimeoutError:
                    if time.monotonic() - self._heard_at > 2 * PING_SECONDS:
                        break
                    if await self._server_refused(refused):
                        break
                    await connection.send_command("PING", check_health=False)
                    self._forget_unused()
                self._stale.clear()
                wanted, unwanted = (
                    self._topics.keys() - self._asked,
                    self._asked - self._topics.keys(),
                )
                self._asked = set(self._topics)  # before anything else can make a topic
                FEED_SUBSCRIPTIONS.set(len(self._asked))
                for command, channels in (("UNSUBSCRIBE", unwanted), ("SUBSCRIBE", wanted)):
                    if channels:
                        await connection.send_command(command, *channels, check_health=False)
        except (redis.RedisError, OSError):
            pass  # the listener sees it too
        await connection.disconnect(nowait=True)

    async def _server_refused(self, before: int) -> bool:
        """Look whether another connection found, since `before`, that the server was demoted.

        A connection with subscriptions cannot ask for itself.
        """
        try:
            async with asyncio.timeout(PING_SECONDS):
                await self._client.execute_command("PING")  # type: ignore[no-untyped-call]
        except (redis.RedisError, TimeoutError):
            pass  # counted where that was the reason
        return refused_servers(self._client) > before

    def _forget_unused(self) -> None:
        long_ago = time.monotonic() - PING_SECONDS
        for channel in [
            channel
            for channel, topic in self._topics.items()
            if topic.unused and topic.idle_since < long_ago
        ]:
            del self._topics[channel]

    def _heard(self, reply: Any) -> None:
        self._heard_at = time.monotonic()
        if not isinstance(reply, list):
            return  # the answer to a PING while nothing is subscribed
        kind, channel, data = reply[0], reply[1].decode(), reply[-1]
        topic = self._topics.get(channel)
        if topic is None or channel not in self._asked:
            return
        if kind == b"message":
            FEED_MESSAGES.inc()
            topic.told(named_in(data))
        elif kind == b"subscribe":
            topic.confirm()


def _ring(bells: Iterable[Bell]) -> None:
    for bell in bells:
        bell.ring()


async def next_reply(connection: Any) -> Any:
    """Wait for what the server sends next; None where it refuses a PING as it refuses writes."""
    try:
        return await connection.read_response(disable_decoding=True, timeout=math.inf)
    except redis.ResponseError as error:
        if refuses_writes(error):
            return None
        raise

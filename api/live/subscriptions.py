"""The connection to Redis over which this process learns of changes, for all viewers together.

A *viewer* is a client with a long poll or a live stream; its *waiter* wakes it. There is one
subscription for each tenant with viewers, to the Redis Pub/Sub channel that has the name of the
tenant's feed. It begins with the first viewer and ends a few seconds after the last one has left.
Changes may be missed while the connection is lost or the server is replaced; therefore all waiters
are notified once the subscriptions are back. Used by `api.app`, `api.live.cluster_subscriptions`,
`api.live.endpoint`, `api.live.tenant_feed` and `api.progress.long_polls`.
`api.live.cluster_subscriptions` has the ones of a cluster.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import islice
from typing import Any

import redis
import redis.asyncio
import structlog

from api.live.channels import Channel
from api.live.waiters import Waiter
from api.metrics import FEED_MESSAGES, FEED_SUBSCRIPTIONS
from projections.reading.feed import changed_names
from streams.cluster import keys_of
from streams.connection import count_refused_servers, refuses_writes, uses_sentinels
from streams.keys import Keys

_LOG = structlog.get_logger(__name__)

CONNECT_SECONDS = 2.0
"""The time limit for connecting to Redis."""

SUBSCRIBE_SECONDS = 2.0
"""The time limit for a subscription; after it, the viewer gets an error."""

PING_SECONDS = 5.0
"""Seconds between two pings. A connection without any reply for twice this time counts as lost.
Also the time for which an unused subscription is kept, because clients that poll return soon."""

SENTINEL_PING_SECONDS = 1.0
"""The same with Sentinels: a primary that they replaced stays connected for some seconds."""

MIN_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS = 0.05, 1.0


class Subscriptions:
    """Notifies waiters of changes; for use from one event loop, in which `run` must run.

    Args:
        client: the client whose pool makes the connection.
        keys: the names of the channels in Redis.
    """

    _subscribe, _unsubscribe = "SUBSCRIBE", "UNSUBSCRIBE"
    _message, _subscribed, _unsubscribed = b"message", b"subscribe", b"unsubscribe"
    _channels_per_command: int | None = None
    """None for no limit."""

    def __init__(self, client: redis.asyncio.Redis, keys: Keys | None = None) -> None:
        self._client = client
        self._keys = keys or keys_of(client)
        self._channels: dict[str, Channel] = {}
        """The channels that must be subscribed, by their name in Redis."""
        self._requested = set[str]()
        """Names of channels for which SUBSCRIBE was sent on the present connection."""
        self._channels_changed = asyncio.Event()
        """Set when the requested channels may differ from `_channels`."""
        self._last_reply = 0.0
        """When the server sent its last message, on the monotonic clock."""

    @asynccontextmanager
    async def watch(self, tenant: str, job_name: str | None, waiter: Waiter) -> AsyncIterator[None]:
        """Notify a waiter, during the block, of changes of one job or of all jobs of a tenant.

        Args:
            tenant: the tenant.
            job_name: the job's name in the feed; None for all jobs.
            waiter: notified of every change after the beginning of the block.

        Raises:
            redis.RedisError: Redis is unavailable.
        """
        channel_name = self._keys.feed(tenant)
        channel = await self._channel(channel_name)
        channel.add(waiter, job_name)
        try:
            await _wait_until_subscribed(channel)
            yield
        finally:
            channel.remove(waiter, job_name)

    async def _channel(self, name: str) -> Channel:
        """Return a channel, which is subscribed from now on."""
        return self._channels.get(name) or self.adopt(name, Channel())

    def adopt(self, name: str, channel: Channel) -> Channel:
        """Subscribe to a channel, and return it."""
        self._channels[name] = channel
        self._channels_changed.set()
        return channel

    async def run(self) -> None:
        """Keep the connection and its subscriptions, until cancelled."""
        backoff = MIN_BACKOFF_SECONDS
        while await self._is_needed():
            began = time.monotonic()
            pool: Any = self._client.connection_pool  # partly without type hints
            connection = pool.make_connection()
            try:
                await self._listen(connection)
            except (redis.RedisError, OSError) as error:  # a TimeoutError is an OSError
                _LOG.info("feed_connection_lost", error=str(error))
            finally:
                self._set_requested(set())
                for channel in self._channels.values():
                    channel.on_lost()
                await connection.disconnect(nowait=True)
            lasted = time.monotonic() - began > MAX_BACKOFF_SECONDS
            backoff = MIN_BACKOFF_SECONDS if lasted else backoff * 2
            await asyncio.sleep(min(backoff, MAX_BACKOFF_SECONDS))

    async def _listen(self, connection: Any) -> None:
        """Handle the replies on one connection until it is lost."""
        async with asyncio.timeout(CONNECT_SECONDS):
            await connection.connect()
        self._last_reply = time.monotonic()
        self._channels_changed.set()
        sending = asyncio.create_task(self._send_commands(connection))
        try:
            while True:
                self._on_reply(await next_reply(connection))
        finally:
            sending.cancel()

    async def _send_commands(self, connection: Any) -> None:
        """Send SUBSCRIBE, UNSUBSCRIBE and PING as needed; disconnect a lost connection."""
        demotions = count_refused_servers(self._client)
        seconds = SENTINEL_PING_SECONDS if uses_sentinels(self._client) else PING_SECONDS
        next_ping = time.monotonic() + seconds
        try:
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(next_ping - time.monotonic()):
                        await self._channels_changed.wait()
                # By the clock and not by the timeout, which new channels may prevent for long.
                if time.monotonic() >= next_ping:
                    if self._is_silent() or await self._find_demotion(demotions):
                        break
                    await connection.send_command("PING", check_health=False)
                    self._remove_unused()
                    next_ping = time.monotonic() + seconds
                self._channels_changed.clear()
                await self._update(connection)
        except (redis.RedisError, OSError):
            pass  # `_listen` gets the error too
        await connection.disconnect(nowait=True)

    async def _update(self, connection: Any) -> None:
        """Subscribe to the channels that have waiters, and unsubscribe from the others."""
        wanted = self._channels.keys() - self._requested
        unwanted = self._requested - self._channels.keys()
        # Before the first await: afterwards there may be new channels.
        self._set_requested(set(self._channels))
        for command, names in ((self._unsubscribe, unwanted), (self._subscribe, wanted)):
            for some in _parts(names, self._channels_per_command):
                await connection.send_command(command, *some, check_health=False)

    def _set_requested(self, names: set[str]) -> None:
        FEED_SUBSCRIPTIONS.inc(len(names) - len(self._requested))
        self._requested = names

    async def _is_needed(self) -> bool:
        """Return whether a connection is to be made; called before each attempt."""
        return True

    def _on_unsubscribed(self, name: str, channel: Channel) -> None:
        """Handle the end of the subscription of a channel that is still wanted.

        It is the reply to a command before the channel was subscribed again.
        """

    def _is_silent(self) -> bool:
        return time.monotonic() - self._last_reply > 2 * PING_SECONDS

    async def _find_demotion(self, before: int) -> bool:
        """Send a PING on another connection; return whether one found that the server is a replica.

        Connections of the client check the server's role from time to time, and count servers that
        are not a primary. A connection with subscriptions cannot send the command for the check.

        Args:
            before: the count when this connection was made.
        """
        # The reason of an error is not needed here: a server that is not a primary was counted.
        with suppress(redis.RedisError, TimeoutError):
            async with asyncio.timeout(PING_SECONDS):
                await self._client.execute_command("PING")  # type: ignore[no-untyped-call]
        return count_refused_servers(self._client) > before

    def _remove_unused(self) -> None:
        """Remove the channels that have had no waiter for `PING_SECONDS`."""
        long_ago = time.monotonic() - PING_SECONDS
        for name, channel in list(self._channels.items()):
            if channel.unused and channel.idle_since < long_ago:
                del self._channels[name]

    def _on_reply(self, reply: Any) -> None:
        self._last_reply = time.monotonic()
        if not isinstance(reply, list):
            return  # the reply to a PING without subscriptions
        kind, name, data = reply[0], reply[1].decode(), reply[-1]
        channel = self._channels.get(name)
        if channel is None or name not in self._requested:
            return
        if kind == self._message:
            FEED_MESSAGES.inc()
            channel.on_changes(changed_names(data))
        elif kind == self._subscribed:
            channel.on_subscribed()
        elif kind == self._unsubscribed:
            self._on_unsubscribed(name, channel)


def _parts(names: Iterable[str], limit: int | None) -> Iterator[Sequence[str]]:
    """Yield names in parts of at most `limit`; no part is empty."""
    left = iter(names)
    while some := list(islice(left, limit)):
        yield some


async def _wait_until_subscribed(channel: Channel) -> None:
    try:
        await channel.wait_until_subscribed(SUBSCRIBE_SECONDS)
    except TimeoutError:
        raise redis.TimeoutError(f"not subscribed in {SUBSCRIBE_SECONDS} s") from None


async def next_reply(connection: Any) -> Any:
    """Return the server's next message, however long it takes.

    Returns:
        The message; None if the server refused a PING because it refuses writes. Its subscriptions
        work nevertheless.

    Raises:
        redis.RedisError: the connection is lost, or the server refused another command.
    """
    try:
        # `_send_commands` disconnects a silent connection, which ends this wait.
        return await connection.read_response(disable_decoding=True, timeout=math.inf)
    except redis.ResponseError as error:
        if refuses_writes(error):
            return None
        raise

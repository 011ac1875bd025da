"""Clients of a Redis Cluster, which send each command to the node that has its key.

The slot map is read at the first command, and again after an error of a node or a redirection. The
commands of one call are grouped by node, sent to all nodes and then awaited, so that they take one
round trip. Redirections are followed: MOVED (the slot has another node) and ASK (the slot moves,
and the key is at the other node already) both mean that the command was not executed. Other errors
are replies, as on a single server; TRYAGAIN and CLUSTERDOWN are outages.

Only commands on single keys are sent. `streams/connection.py` makes these clients. Used by
`ops.arguments`, `streams.appender`, `streams.cluster_appends` and `streams.connection`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import redis
import redis.asyncio

from .keys import ClusterKeys, Keys
from .routing import AddTo, Batch, ClusterState, Routed, commands_of, key_of, store, unserved
from .servers.slots import slot_of
from .wire import Command, PendingReplies, Router, one_async_connection, round_trip

REDIRECTIONS = 8
"""Number of times that a command is sent at most, each time after a redirection."""


class ClusterClientMisused(redis.RedisError):
    """A command was sent by a method that has no key to route it by."""

    def __init__(self) -> None:
        super().__init__("this does not work on a cluster yet")


class Cluster(ClusterState[redis.Redis], redis.Redis, Router):
    """A blocking client; safe to share between threads.

    It is a client of the library by type only: what does not go through `streams/wire.py` is
    refused.
    """

    @property
    def connection_pool(self) -> redis.ConnectionPool:
        """There is no pool for all nodes.

        Raises:
            ClusterClientMisused: always.
        """
        raise ClusterClientMisused

    @connection_pool.setter
    def connection_pool(self, _pool: redis.ConnectionPool) -> None:
        raise ClusterClientMisused

    def replies_to(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands, and return their replies in order; raises what `route` does."""
        return self.route(commands).replies

    def route(
        self,
        commands: Sequence[Command],
        add: AddTo[redis.Redis] | None = None,
    ) -> Routed:
        """Send each command to the node of its key, the second word of the command.

        Args:
            commands: the commands.
            add: what is sent behind them.

        Raises:
            redis.RedisError: no node answers, or one was lost; some commands may have been
                executed.
        """
        if self.is_outdated:
            self.read_map()
        slots = [slot_of(key_of(command)) for command in commands]
        replies, added = unserved(commands), list[tuple[Any, list[Any]]]()
        batches = self.batches(range(len(commands)), slots)
        for _ in range(REDIRECTIONS):
            added += self._exchange(batches, commands, replies, add)
            batches = self.redirected(batches, replies)
            if not batches:
                break
        self.is_outdated |= any(
            isinstance(reply, redis.exceptions.ClusterDownError) for reply in replies
        )
        return Routed(replies, added)

    def read_map(self) -> None:
        """Read the slot map from the first node that has it.

        Raises:
            redis.RedisError: no node has it.
        """
        replies = []
        for address in self.candidates():
            try:
                replies += round_trip(self.node(address), [("CLUSTER", "SLOTS")])
            except redis.RedisError as error:
                replies.append(error)
                self.suspect(address)
            if self.learn(replies[-1], address):
                for node in self.gone():
                    node.close()
                return
        raise self.error(replies)

    def close(self) -> None:
        """Close all connections."""
        for node in [*self.nodes.values()]:
            node.close()

    def _exchange(
        self,
        batches: Sequence[Batch],
        commands: Sequence[Command],
        replies: list[Any],
        add: AddTo[redis.Redis] | None,
    ) -> list[tuple[Any, list[Any]]]:
        """Send batches to all their nodes, then store all replies."""
        sent = list[tuple[Batch, Any, PendingReplies]]()
        address = None
        try:
            with ExitStack() as stack:
                for batch in batches:
                    address = batch.address
                    node = self.node(address)
                    extra = add.make(node) if add and add.applies_to(batch.indexes) else None
                    words = commands_of(batch, commands, extra)
                    sent.append((batch, extra, stack.enter_context(PendingReplies(node, words))))
                added = []
                for batch, extra, pending in sent:
                    address = batch.address
                    if found := store(batch, pending.replies(), replies):
                        added.append((extra, found))
                return added
        except redis.RedisError:
            if address:
                self.suspect(address)
            raise


class AsyncCluster(ClusterState[redis.asyncio.Redis], redis.asyncio.Redis):  # type: ignore[misc] # their bases
    """An asyncio client; by type, as the blocking one."""

    @property
    def connection_pool(self) -> redis.asyncio.ConnectionPool:
        """There is no pool for all nodes; raises as the blocking client does."""
        raise ClusterClientMisused

    @connection_pool.setter
    def connection_pool(self, _pool: redis.asyncio.ConnectionPool) -> None:
        raise ClusterClientMisused

    async def route(
        self,
        commands: Sequence[Command],
        add: AddTo[redis.asyncio.Redis] | None = None,
    ) -> Routed:
        """Send each command to the node of its key; as the blocking method does."""
        if self.is_outdated:
            await self.read_map()
        slots = [slot_of(key_of(command)) for command in commands]
        replies, added = unserved(commands), list[tuple[Any, list[Any]]]()
        batches = self.batches(range(len(commands)), slots)
        for _ in range(REDIRECTIONS):
            added += await self._exchange(batches, commands, replies, add)
            batches = self.redirected(batches, replies)
            if not batches:
                break
        self.is_outdated |= any(
            isinstance(reply, redis.exceptions.ClusterDownError) for reply in replies
        )
        return Routed(replies, added)

    async def read_map(self) -> None:
        """Read the slot map from the first node that has it; raises as the blocking method."""
        replies = []
        for address in self.candidates():
            try:
                async with one_async_connection(self.node(address)) as send:
                    replies += await send([("CLUSTER", "SLOTS")])
            except redis.RedisError as error:
                replies.append(error)
                self.suspect(address)
            if self.learn(replies[-1], address):
                for node in self.gone():
                    await node.aclose()
                return
        raise self.error(replies)

    async def aclose(self, close_connection_pool: bool | None = None) -> None:  # noqa: FBT001 - theirs
        """Close all connections."""
        del close_connection_pool
        for node in [*self.nodes.values()]:
            await node.aclose()

    async def _exchange(
        self,
        batches: Sequence[Batch],
        commands: Sequence[Command],
        replies: list[Any],
        add: AddTo[redis.asyncio.Redis] | None,
    ) -> list[tuple[Any, list[Any]]]:
        async def exchange(batch: Batch) -> tuple[Any, list[Any]]:
            try:
                node = self.node(batch.address)
                extra = await add.make(node) if add and add.applies_to(batch.indexes) else None
                async with one_async_connection(node) as send:
                    found = await send(commands_of(batch, commands, extra))
            except redis.RedisError:
                self.suspect(batch.address)
                raise
            return extra, store(batch, found, replies)

        # All are awaited before an error is raised: no connection is left in use.
        done = await asyncio.gather(*map(exchange, batches), return_exceptions=True)
        for each in done:
            if isinstance(each, BaseException):
                raise each
        return [each for each in done if isinstance(each, tuple) and each[1]]


def keys_of(client: redis.Redis | redis.asyncio.Redis) -> Keys:
    """Return the names of keys in the deployment of a client."""
    return ClusterKeys(client.tag_of) if isinstance(client, Cluster | AsyncCluster) else Keys()

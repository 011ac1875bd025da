"""Clients of a Redis Cluster, which send each command to the node that has its key.

The slot map is read at the first command, and again after an error of a node or a redirection. The
commands of one call are grouped by node, sent to all nodes and then awaited, so that they take one
round trip. Redirections are followed: MOVED (the slot has another node) and ASK (the slot moves,
and the key is at the other node already) both mean that the command was not executed. Other errors
are replies, as on a single server; TRYAGAIN and CLUSTERDOWN are outages.

The keys of one command must share a slot. `streams/connection.py` makes these clients. Used by
`api`, `consumers`, `ops`, `projections` and `streams`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import redis
import redis.asyncio
from redis.commands.core import Script

from .keys import ClusterKeys, Keys
from .routing import AddTo, Batch, ClusterState, Routed, commands_of, key_of, store, unserved
from .servers.slots import slot_of
from .wire import (
    Command,
    PendingReplies,
    Router,
    Sent,
    checked,
    one_async_connection,
    round_trip,
)

REDIRECTIONS = 8
"""Number of times that a command is sent at most, each time after a redirection."""


class ClusterClientMisused(redis.RedisError):
    """A command was sent by a method that has no key to route it by."""

    def __init__(self) -> None:
        super().__init__("this does not work on a cluster yet")


class Cluster(ClusterState[redis.Redis], redis.Redis, Router):
    """A blocking client; safe to share between threads.

    Of the library's client it has the methods that send one command, and `register_script`. What
    needs one pool of connections, such as a pipeline, is refused.
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

    def send(self, commands: Sequence[Command]) -> RoutedReplies:
        """Send each command to the node of its key; raises what `route` does."""
        return RoutedReplies(self, commands)

    def route(
        self,
        commands: Sequence[Command],
        add: AddTo[redis.Redis] | None = None,
    ) -> Routed:
        """Send each command to the node of its key, and return the replies.

        Args:
            commands: the commands.
            add: what is sent behind them.

        Raises:
            redis.RedisError: no node answers, or one was lost; some commands may have been
                executed.
        """
        return RoutedReplies(self, commands, add).routed()

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send one command, and return its reply as the library's clients do.

        Raises:
            redis.RedisError: the node is unavailable or refuses the command.
        """
        name, *rest = args  # such as "XINFO GROUPS"
        (reply,) = checked(self.route([(*name.split(), *rest)]).replies)
        callbacks = next(iter(self.nodes.values())).response_callbacks
        return callbacks[name](reply, **options) if name in callbacks else reply

    def register_script(self, script: str | bytes | memoryview) -> ClusterScript:
        """Return a script that is sent to the node of its first key."""
        return ClusterScript(self, script)

    def primaries(self) -> list[redis.Redis]:
        """Return a client for each primary, by the slot map; raises what `read_map` does."""
        if self.is_outdated:
            self.read_map()
        return [self.node(address) for address in self.addresses]

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


class RoutedReplies(Sent):
    """Commands that were sent to the nodes of their keys; redirected ones are sent again.

    Raises:
        redis.RedisError: no node answers, or one was lost; some commands may have been executed.
    """

    def __init__(
        self, cluster: Cluster, commands: Sequence[Command], add: AddTo[redis.Redis] | None = None
    ) -> None:
        if cluster.is_outdated:
            cluster.read_map()
        self._cluster = cluster
        self._commands = commands
        self._add = add
        self._replies = unserved(commands)
        self._batches = cluster.batches(
            range(len(commands)), [slot_of(key_of(command)) for command in commands]
        )
        self._sent = list[tuple[Batch, Any, PendingReplies]]()
        self._send()

    def replies(self) -> list[Any]:
        """Wait for the replies and return them in the order of the commands."""
        return self.routed().replies

    def routed(self) -> Routed:
        """Wait for the replies, follow redirections, and return all replies."""
        added = self._receive()
        for _ in range(REDIRECTIONS - 1):
            self._batches = self._cluster.redirected(self._batches, self._replies)
            if not self._batches:
                break
            self._send()
            added += self._receive()
        self._cluster.is_outdated |= any(
            isinstance(reply, redis.exceptions.ClusterDownError) for reply in self._replies
        )
        return Routed(self._replies, added)

    def give_up(self) -> None:
        """Close the connections whose replies were not read."""
        for _, _, pending in self._sent:
            pending.give_up()

    def _send(self) -> None:
        """Send the batches, each to its node."""
        self._sent = []
        for batch in self._batches:
            with self._suspecting(batch):
                node = self._cluster.node(batch.address)
                applies = self._add and self._add.applies_to(batch.indexes)
                extra = self._add.make(node) if self._add and applies else None
                words = commands_of(batch, self._commands, extra)
                self._sent.append((batch, extra, PendingReplies(node, words)))

    def _receive(self) -> list[tuple[Any, list[Any]]]:
        """Store the replies of all nodes; return what was added, with the replies to it."""
        added = []
        for batch, extra, pending in self._sent:
            with self._suspecting(batch):
                if found := store(batch, pending.replies(), self._replies):
                    added.append((extra, found))
        return added

    @contextmanager
    def _suspecting(self, batch: Batch) -> Iterator[None]:
        """Give everything up after an error of the batch's node."""
        try:
            yield
        except BaseException as error:
            if isinstance(error, redis.RedisError):
                self._cluster.suspect(batch.address)
            self.give_up()
            raise


class ClusterScript(Script):
    """A script of a cluster; its first key decides which node runs it."""

    def __init__(self, cluster: Cluster, script: str | bytes | memoryview) -> None:
        self._cluster = cluster
        self._source = script.encode() if isinstance(script, str) else bytes(script)
        super().__init__(cluster, self._source)

    def __call__(
        self,
        keys: Sequence[Any] | None = None,
        args: Iterable[Any] | None = None,
        client: Any = None,
    ) -> Any:
        """Run the script; the node keeps it for the next time."""
        del client
        words = (len(keys or ()), *(keys or ()), *(args or ()))
        (reply,) = round_trip(self._cluster, [("EVALSHA", self.sha, *words)])
        if isinstance(reply, redis.exceptions.NoScriptError):
            (reply,) = round_trip(self._cluster, [("EVAL", self._source, *words)])
        return checked([reply])[0]


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

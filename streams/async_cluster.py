"""The asyncio client of a Redis Cluster, which sends each command to the node that has its key.

`streams/cluster.py` describes how, and has the blocking client. Used by `api` and `streams`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any, Self

import redis
import redis.asyncio

from .routing import (
    REDIRECTIONS,
    AddTo,
    Batch,
    ClusterClientMisused,
    ClusterState,
    Routed,
    commands_of,
    store,
)
from .servers.slots import Address
from .silent_nodes import AsyncSilentNodes
from .wire import AsyncRouter, Command, checked, one_async_connection


class AsyncCluster(ClusterState[redis.asyncio.Redis], redis.asyncio.Redis, AsyncRouter):  # type: ignore[misc] # their bases
    """An asyncio client, for one event loop at a time.

    It is an instance of the library's client, and has those of its methods that send one command.
    What needs one pool of connections, such as a pipeline, is refused.
    """

    _reading: asyncio.Task[None] | None = None

    silent: AsyncSilentNodes | None = None
    """Nodes that are not waited for; None if each command waits for its whole timeout."""

    def set_patience(self, seconds: float) -> None:
        """Wait for the replies of a node for so many seconds only, at first."""
        self.silent = AsyncSilentNodes(seconds, self.nodes)

    @property
    def connection_pool(self) -> redis.asyncio.ConnectionPool:
        """There is no pool for all nodes.

        Raises:
            ClusterClientMisused: always.
        """
        raise ClusterClientMisused

    @connection_pool.setter
    def connection_pool(self, _pool: redis.asyncio.ConnectionPool) -> None:
        raise ClusterClientMisused

    async def replies_to(self, commands: Sequence[Command], *, partial: bool = False) -> list[Any]:
        """Send each command to the node of its key, and return the replies in order.

        Args:
            commands: the commands.
            partial: True to have the loss of a node as the reply to its commands.

        Raises:
            redis.RedisError: no node has the slot map; without `partial`, also if a node is lost.
        """
        return (await self.route(commands, partial=partial)).replies

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send one command, and return its reply as the library's clients do.

        Raises:
            redis.RedisError: the node is unavailable or refuses the command.
        """
        name, *rest = args
        (reply,) = checked(await self.replies_to([(*name.split(), *rest)]))
        return self.converted(name, reply, options)

    async def run_transaction(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands, whose keys share a slot, as a transaction, and return their replies.

        Raises:
            redis.RedisError: the node is unavailable or refuses a command.
        """
        words: list[Command] = [("MULTI",), *commands, ("EXEC",)]
        await self.refresh()
        batches, replies = self.planned(commands[:1])
        for _ in range(REDIRECTIONS):
            for batch in batches:
                asking: list[Command] = [("ASKING",)] if batch.asking else []
                replies = await self._send_to(batch.address, [*asking, *words])
            # If one command is redirected, all are. MovedError is a subclass of AskError.
            redirected = [each for each in replies if isinstance(each, redis.exceptions.AskError)]
            batches = self.redirected(batches, redirected) if redirected else []
            if not batches:
                break
        self.note(replies)
        return list(checked(checked(replies)[-1]))

    async def load_script(self, text: bytes) -> None:
        """Load a script into every primary that answers.

        Raises:
            redis.RedisError: a primary refuses it, or none has the slot map.
        """
        await self.refresh()
        for address in self.addresses:
            with suppress(redis.ConnectionError, redis.TimeoutError):
                checked(await self._send_to(address, [("SCRIPT", "LOAD", text)]))

    async def route(
        self,
        commands: Sequence[Command],
        add: AddTo[redis.asyncio.Redis] | None = None,
        *,
        partial: bool = False,
        tenant_key: str | None = None,
    ) -> Routed:
        """Send each command to the node of its key, and return the replies.

        Args:
            commands: the commands.
            add: makes further commands for the end of each connection, such as a wait for replicas.
            partial: True to have the loss of a node as the reply to its commands.
            tenant_key: as in `planned`.

        Raises:
            redis.RedisError: no node has the slot map; without `partial`, also if a node is lost.
                Some commands may have been executed.
        """
        await self.refresh()
        added = list[tuple[Any, list[Any]]]()
        batches, replies = self.planned(commands, tenant_key)
        for _ in range(REDIRECTIONS):
            added += await self._exchange(batches, commands, replies, add, partial=partial)
            batches = self.redirected(batches, replies)
            if not batches:
                break
        self.note(replies)
        return Routed(replies, added)

    async def refresh(self) -> None:
        """Read the slot map if it is outdated; concurrent calls share one reading.

        Raises:
            redis.RedisError: no node has it.
        """
        if not self.is_outdated:
            return
        loop, reading = asyncio.get_running_loop(), self._reading
        if reading is None or reading.done() or reading.get_loop() is not loop:
            reading = self._reading = loop.create_task(self.read_map())
            # Its error is raised to those who wait, of whom there may be none any more.
            reading.add_done_callback(lambda task: task.cancelled() or task.exception())
        await asyncio.shield(reading)

    async def read_map(self) -> None:
        """Read the slot map from the first node that has it.

        Raises:
            redis.RedisError: no node has it.
        """
        replies = []
        for address in self.candidates():
            try:
                replies += await self._send_to(address, [("CLUSTER", "SLOTS")])
            except redis.RedisError as error:
                replies.append(error)
            if self.learn(replies[-1], address):
                for node in self.gone():
                    with suppress(redis.RedisError, OSError):  # it is of no use any more
                        await node.aclose()
                return
        raise self.error(replies)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self, close_connection_pool: bool | None = None) -> None:  # noqa: FBT001 - theirs
        """Close all connections; the first error is raised after the last node."""
        del close_connection_pool
        async with AsyncExitStack() as stack:
            for node in self.nodes.values():
                stack.push_async_callback(node.aclose)
            if self.silent is not None:
                stack.push_async_callback(self.silent.close)

    async def _exchange(
        self,
        batches: Sequence[Batch],
        commands: Sequence[Command],
        replies: list[Any],
        add: AddTo[redis.asyncio.Redis] | None,
        *,
        partial: bool,
    ) -> list[tuple[Any, list[Any]]]:
        """Send the batches at the same time, and store the replies to their commands.

        Return what `add` has made for each connection, with the replies to it.
        """

        async def exchange(batch: Batch) -> tuple[Any, list[Any]]:
            extra = None
            if add and add.applies_to(batch.indexes):
                extra = await add.make(self.node(batch.address))
            words = commands_of(batch, commands, extra)
            return extra, store(batch, await self._send_to(batch.address, words), replies)

        if len(batches) == 1 and not partial:  # without the cost of a task
            done: Sequence[Any] = [await exchange(batches[0])]
        else:
            # All are awaited before an error is raised: no connection is left in use.
            done = await asyncio.gather(*map(exchange, batches), return_exceptions=True)
        for batch, each in zip(batches, done, strict=True):
            if not isinstance(each, BaseException):
                continue
            if not partial or not isinstance(each, redis.RedisError):
                raise each
            for index in batch.indexes:
                replies[index] = each.with_traceback(None)
        return [each for each in done if isinstance(each, tuple) and each[1]]

    async def _send_to(self, address: Address, commands: Sequence[Command]) -> list[Any]:
        """Send commands to a node and return their replies.

        Raises:
            redis.RedisError: the node is unavailable; the slot map is read again.
        """
        node = self.node(address)

        async def exchange(answering: asyncio.Event | None = None) -> list[Any]:
            async with one_async_connection(node, answering) as send:
                return await send(commands)

        try:
            if self.silent is None:
                return await exchange()
            return await self.silent.replies(address, node, exchange)
        except redis.RedisError:
            self.suspect(address)
            raise


async def async_servers_of(client: redis.asyncio.Redis) -> list[redis.asyncio.Redis]:
    """Return a client of each primary of the deployment, of which there is one without a cluster.

    Raises:
        redis.RedisError: no node of the cluster has the slot map.
    """
    if not isinstance(client, AsyncCluster):
        return [client]
    await client.refresh()
    return [client.node(address) for address in client.addresses]


def pools_of(client: redis.asyncio.Redis) -> list[redis.asyncio.ConnectionPool]:
    """Return the connection pools of a client; on a cluster, one for each node used so far."""
    if isinstance(client, AsyncCluster):
        return [node.connection_pool for node in client.nodes.values()]
    return [client.connection_pool]

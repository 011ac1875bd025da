"""Clients of a Redis Cluster, which send each command to the node that has its key.

The slot map is read at the first command, and again after an error of a node or a redirection. The
commands of one call are grouped by node, sent to all nodes and then awaited, so that they take one
round trip. Redirections are followed: MOVED (the slot has another node) and ASK (the slot moves,
and the key is at the other node already) both mean that the command was not executed. Other errors
are replies, as on a single server; TRYAGAIN and CLUSTERDOWN are outages.

Only commands on single keys are sent. `streams/connection.py` makes these clients.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import redis
import redis.asyncio

from .keys import ClusterKeys, Keys
from .servers.primary import WrongServer
from .servers.slots import TAGS, Address, SlotMap, slot_of
from .wire import Command, PendingReplies, Router, one_async_connection, round_trip

REDIRECTIONS = 8
"""Number of times that a command is sent at most, each time after a redirection."""

ClientT = TypeVar("ClientT", bound=redis.Redis | redis.asyncio.Redis)
NodeT = TypeVar("NodeT")


class Added(Protocol):
    """Commands that are sent behind others on the connection to a node."""

    commands: list[Command]


class Routed(NamedTuple):
    """The replies to commands that were sent to their nodes."""

    replies: list[Any]
    """In the order of the commands; for a refused command it is the error."""
    added: list[tuple[Any, list[Any]]]
    """What was added behind the commands on each connection, and the replies to it."""


class AddTo(NamedTuple, Generic[NodeT]):
    """What is added on the connections that the first commands of a call are sent on."""

    make: Callable[[NodeT], Any]
    """Returns `Added` for the client of a node; awaited with asyncio."""
    first: int
    """Number of these commands."""

    def applies_to(self, indexes: Sequence[int]) -> bool:
        """Return True if one of these commands is among those at the indexes."""
        return min(indexes) < self.first


class _Batch(NamedTuple):
    """Commands for one connection of one node."""

    address: Address
    indexes: list[int]
    """Indexes of the commands in the call."""
    asking: bool
    """True if the node is asked for keys of a slot that moves to it."""


class _Cluster(Generic[ClientT]):
    """The nodes and the slot map of a cluster.

    Args:
        seeds: addresses of some nodes.
        make: makes the client of a node.
    """

    def __init__(self, seeds: Sequence[Address], make: Callable[[Address], ClientT]) -> None:
        self._seeds = tuple(seeds)
        self._make = make
        self._nodes: dict[Address, ClientT] = {}
        self._map: SlotMap | None = None
        self._outdated = True
        self._replicas_seen: dict[Address, dict[int, None]] = {}
        """What `streams/durability.py` keeps with the connections of a node."""

    @property
    def is_known(self) -> bool:
        """True once the slot map was read."""
        return self._map is not None

    def tag_of(self, key: str) -> str:
        """Return the hash tag of the ready queue of the key's node, by the last slot map."""
        return TAGS[0] if self._map is None else self._map.tag_of(key)

    def _node(self, address: Address) -> ClientT:
        node = self._nodes.get(address)
        if node is None:
            node = self._nodes[address] = self._make(address)
            seen = self._replicas_seen.setdefault(address, {})
            vars(node.connection_pool)["_jobtrail_replicas_seen"] = seen
        return node

    def _candidates(self) -> list[Address]:
        """Return the nodes to read the slot map from, known primaries first."""
        known = () if self._map is None else self._map.primaries
        return list(dict.fromkeys([*known, *self._seeds]))

    def _learn(self, reply: Any, asked: Address) -> bool:
        """Keep the slot map in a reply to CLUSTER SLOTS; return False if it has none."""
        if not isinstance(reply, list) or not reply:
            return False
        old, self._map = self._map, SlotMap(reply, asked)
        if old is not None:
            self._inherit(old, self._map)
        self._outdated = False
        return True

    def _inherit(self, old: SlotMap, new: SlotMap) -> None:
        """Have promoted replicas need as many replicas as the primaries that they replace.

        Otherwise a failover would lower the number that durable appends wait for.
        """
        for address, slot in new.first_slots.items():
            before = old.node_of(slot)
            if before is not None and before not in new.primaries:
                seen = self._replicas_seen.setdefault(address, {})
                seen.update(self._replicas_seen.get(before, {}))

    def _gone(self) -> list[ClientT]:
        """Remove and return the clients of nodes that are neither primaries nor seeds."""
        kept = set(self._candidates())
        return [self._nodes.pop(each) for each in [*self._nodes] if each not in kept]

    def _error(self, replies: Sequence[Any]) -> redis.RedisError:
        """Return the error for the replies of all nodes, none of which is a slot map."""
        errors = [each for each in replies if isinstance(each, redis.RedisError)]
        where = ", ".join(f"{host}:{port}" for host, port in self._candidates())
        for error in errors:
            if isinstance(error, redis.AuthenticationError | redis.exceptions.NoPermissionError):
                return error
            if "cluster support disabled" in str(error):
                return WrongServer(
                    f"not a node of a cluster: {where}: JOBTRAIL_REDIS_URL must name it as redis://"
                )
        problem = errors[0] if errors else "the nodes have no slots"
        return redis.ConnectionError(f"no node of the cluster at {where} answers: {problem}")

    def _batches(self, indexes: Iterable[int], slots: Sequence[int]) -> list[_Batch]:
        """Group commands by node, in their order; leave out those whose slot has no node."""
        found: dict[Address, _Batch] = {}
        for index in indexes:
            address = self._map and self._map.node_of(slots[index])
            if address:
                found.setdefault(address, _Batch(address, [], asking=False)).indexes.append(index)
        return list(found.values())

    def _redirected(self, batches: Sequence[_Batch], replies: Sequence[Any]) -> list[_Batch]:
        """Return the batches for the commands that were redirected."""
        found: dict[tuple[Address, bool], _Batch] = {}
        for batch in batches:
            for index in batch.indexes:
                error = replies[index]
                if not isinstance(error, redis.exceptions.AskError):
                    continue
                asking = not isinstance(error, redis.exceptions.MovedError)
                self._outdated |= not asking
                address = (error.host or batch.address[0], error.port)
                again = found.setdefault((address, asking), _Batch(address, [], asking))
                again.indexes.append(index)
        return list(found.values())


def _commands_of(batch: _Batch, commands: Sequence[Command], extra: Added | None) -> list[Command]:
    """Return the commands to send for a batch."""
    sent: list[Command] = [commands[index] for index in batch.indexes]
    if batch.asking:
        sent = [each for command in sent for each in (("ASKING",), command)]
    return [*sent, *(extra.commands if extra else ())]


def _store(batch: _Batch, found: Sequence[Any], replies: list[Any]) -> list[Any]:
    """Store the replies of a batch in their places; return those of the added commands."""
    step = 2 if batch.asking else 1
    count = len(batch.indexes) * step
    for index, reply in zip(batch.indexes, found[step - 1 : count : step], strict=True):
        replies[index] = reply
    return list(found[count:])


def _unserved(commands: Sequence[Command]) -> list[Any]:
    """Return the replies that commands have until a node replies."""
    return [
        redis.exceptions.ClusterDownError(f"CLUSTERDOWN no node has the slot of {command[1]!r}")
        for command in commands
    ]


class ClusterClientMisused(redis.RedisError):
    """A command was sent by a method that has no key to route it by."""

    def __init__(self) -> None:
        super().__init__("this does not work on a cluster yet")


class Cluster(_Cluster[redis.Redis], redis.Redis, Router):
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
        if self._outdated:
            self.read_map()
        slots = [slot_of(_key(command)) for command in commands]
        replies, added = _unserved(commands), list[tuple[Any, list[Any]]]()
        batches = self._batches(range(len(commands)), slots)
        for _ in range(REDIRECTIONS):
            added += self._exchange(batches, commands, replies, add)
            batches = self._redirected(batches, replies)
            if not batches:
                break
        self._outdated |= any(
            isinstance(reply, redis.exceptions.ClusterDownError) for reply in replies
        )
        return Routed(replies, added)

    def read_map(self) -> None:
        """Read the slot map from the first node that has it.

        Raises:
            redis.RedisError: no node has it.
        """
        replies = []
        for address in self._candidates():
            try:
                replies += round_trip(self._node(address), [("CLUSTER", "SLOTS")])
            except redis.RedisError as error:
                replies.append(error)
            if self._learn(replies[-1], address):
                for node in self._gone():
                    node.close()
                return
        raise self._error(replies)

    def close(self) -> None:
        """Close all connections."""
        for node in [*self._nodes.values()]:
            node.close()

    def _exchange(
        self,
        batches: Sequence[_Batch],
        commands: Sequence[Command],
        replies: list[Any],
        add: AddTo[redis.Redis] | None,
    ) -> list[tuple[Any, list[Any]]]:
        """Send batches to all their nodes, then store all replies."""
        try:
            with ExitStack() as stack:
                sent = list[tuple[_Batch, Any, PendingReplies]]()
                for batch in batches:
                    node = self._node(batch.address)
                    extra = add.make(node) if add and add.applies_to(batch.indexes) else None
                    words = _commands_of(batch, commands, extra)
                    pending = stack.enter_context(PendingReplies(node, words))
                    sent.append((batch, extra, pending))
                return [
                    (extra, found)
                    for batch, extra, pending in sent
                    if (found := _store(batch, pending.replies(), replies))
                ]
        except redis.RedisError:
            self._outdated = True
            raise


class AsyncCluster(_Cluster[redis.asyncio.Redis], redis.asyncio.Redis):  # type: ignore[misc] # their bases
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
        if self._outdated:
            await self.read_map()
        slots = [slot_of(_key(command)) for command in commands]
        replies, added = _unserved(commands), list[tuple[Any, list[Any]]]()
        batches = self._batches(range(len(commands)), slots)
        for _ in range(REDIRECTIONS):
            added += await self._exchange(batches, commands, replies, add)
            batches = self._redirected(batches, replies)
            if not batches:
                break
        self._outdated |= any(
            isinstance(reply, redis.exceptions.ClusterDownError) for reply in replies
        )
        return Routed(replies, added)

    async def read_map(self) -> None:
        """Read the slot map from the first node that has it; raises as the blocking method."""
        replies = []
        for address in self._candidates():
            try:
                async with one_async_connection(self._node(address)) as send:
                    replies += await send([("CLUSTER", "SLOTS")])
            except redis.RedisError as error:
                replies.append(error)
            if self._learn(replies[-1], address):
                for node in self._gone():
                    await node.aclose()
                return
        raise self._error(replies)

    async def aclose(self, close_connection_pool: bool | None = None) -> None:  # noqa: FBT001 - theirs
        """Close all connections."""
        del close_connection_pool
        for node in [*self._nodes.values()]:
            await node.aclose()

    async def _exchange(
        self,
        batches: Sequence[_Batch],
        commands: Sequence[Command],
        replies: list[Any],
        add: AddTo[redis.asyncio.Redis] | None,
    ) -> list[tuple[Any, list[Any]]]:
        async def exchange(batch: _Batch) -> tuple[Any, list[Any]]:
            node = self._node(batch.address)
            extra = await add.make(node) if add and add.applies_to(batch.indexes) else None
            async with one_async_connection(node) as send:
                found = await send(_commands_of(batch, commands, extra))
            return extra, _store(batch, found, replies)

        try:
            # All are awaited before an error is raised: no connection is left in use.
            found = await asyncio.gather(*map(exchange, batches), return_exceptions=True)
            for each in found:
                if isinstance(each, BaseException):
                    raise each
        except redis.RedisError:
            self._outdated = True
            raise
        return [each for each in found if isinstance(each, tuple) and each[1]]


def keys_of(client: redis.Redis | redis.asyncio.Redis) -> Keys:
    """Return the names of keys in the deployment of a client."""
    return ClusterKeys(client.tag_of) if isinstance(client, Cluster | AsyncCluster) else Keys()


def _key(command: Command) -> str | bytes:
    key = command[1]
    if isinstance(key, str | bytes):
        return key
    raise TypeError(f"a cluster has no key {key!r}")

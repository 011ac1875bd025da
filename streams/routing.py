"""Routing of commands to the nodes of a Redis Cluster, without any I/O.

`streams/cluster.py` sends what is grouped here, over a blocking or an asyncio client. Used by
`streams.async_cluster`, `streams.cluster`, `streams.cluster_appends` and `streams.routed_replies`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import redis
import redis.asyncio
from redis.client import EMPTY_RESPONSE, NEVER_DECODE

from .servers.primary import WrongServer
from .servers.slots import TAGS, Address, SlotMap, slot_of
from .wire import Command

ClientT = TypeVar("ClientT", bound=redis.Redis | redis.asyncio.Redis)
NodeT = TypeVar("NodeT")


REDIRECTIONS = 8
"""Number of times that a command is sent at most, each time after a redirection."""


class ClusterClientMisused(redis.RedisError):
    """A command was sent by a method that has no key to route it by."""

    def __init__(self) -> None:
        super().__init__("this does not work on a cluster yet")


class Added(Protocol):
    """Commands that are sent behind others on the connection to a node."""

    commands: list[Command]


class Routed(NamedTuple):
    """The replies to commands that were sent to their nodes."""

    replies: list[Any]
    """In the order of the commands; for a refused command it is the error."""
    added: list[tuple[Any, list[Any]]]
    """Commands that were added behind the others on each connection, and their replies."""


class AddTo(NamedTuple, Generic[NodeT]):
    """Commands that are added on the connections of the first commands of a call."""

    make: Callable[[NodeT], Any]
    """Returns `Added` for the client of a node; awaited with asyncio."""
    first: int
    """Number of these commands."""

    def applies_to(self, indexes: Sequence[int]) -> bool:
        """Return True if one of these commands is among those at the indexes."""
        return min(indexes) < self.first


class Batch(NamedTuple):
    """Commands for one connection of one node."""

    address: Address
    indexes: list[int]
    """Indexes of the commands in the call."""
    asking: bool
    """True if the node is asked for keys of a slot that moves to it."""


class ClusterState(Generic[ClientT]):
    """The nodes and the slot map of a cluster.

    Args:
        seeds: addresses of some nodes.
        make: makes the client of a node.
    """

    def __init__(self, seeds: Sequence[Address], make: Callable[[Address], ClientT]) -> None:
        self._seeds = tuple(seeds)
        self._make = make
        self.nodes: dict[Address, ClientT] = {}
        self._map: SlotMap | None = None
        self.is_outdated = True
        self._replicas_seen: dict[Address, dict[int, None]] = {}
        """The facts that `streams/durability.py` keeps with the connections of a node."""
        self._suspects: dict[Address, None] = {}
        """Nodes that failed last; they are asked for the slot map after the others."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.candidates()})"

    @property
    def is_known(self) -> bool:
        """True once the slot map was read."""
        return self._map is not None

    @property
    def tags(self) -> Sequence[str]:
        """The hash tag of the ready queue of each primary of the last slot map."""
        return TAGS[:1] if self._map is None else self._map.tags

    @property
    def addresses(self) -> Sequence[Address]:
        """The primaries of the last slot map."""
        return () if self._map is None else self._map.primaries

    def tag_of(self, key: str) -> str:
        """Return the hash tag of the ready queue of the key's node, by the last slot map."""
        return TAGS[0] if self._map is None else self._map.tag_of(key)

    def address_of(self, slot: int) -> Address | None:
        """Return the primary that has the slot by the last slot map, or None."""
        return None if self._map is None else self._map.node_of(slot)

    def node(self, address: Address) -> ClientT:
        """Return the client of a node."""
        node = self.nodes.get(address)
        if node is None:
            node = self.nodes[address] = self._make(address)
            seen = self._replicas_seen.setdefault(address, {})
            vars(node.connection_pool)["_jobtrail_replicas_seen"] = seen
        return node

    def candidates(self) -> list[Address]:
        """Return the nodes to read the slot map from, known primaries first."""
        found = list(dict.fromkeys([*self.addresses, *self._seeds]))
        # A node that hangs must not delay the commands to all others.
        return sorted(found, key=self._suspects.__contains__)

    def suspect(self, address: Address) -> None:
        """Have the slot map read again after an error of a node, from another one if possible."""
        self._suspects[address] = None
        self.is_outdated = True

    def learn(self, reply: Any, asked: Address) -> bool:
        """Keep the slot map in a reply to CLUSTER SLOTS; return False if it has none."""
        if not isinstance(reply, list) or not reply:
            return False
        old, self._map = self._map, SlotMap(reply, asked)
        if old is not None:
            self._inherit(old, self._map)
        self.is_outdated = False
        self._suspects.pop(asked, None)
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

    def note(self, replies: Iterable[Any]) -> None:
        """Have the slot map read again if a reply is the error of a slot without a node."""
        self.is_outdated |= any(
            isinstance(reply, redis.exceptions.ClusterDownError) for reply in replies
        )

    def converted(self, name: str, reply: Any, options: Mapping[str, Any]) -> Any:
        """Return the reply to a command as the library's method for it returns it."""
        convert = next(iter(self.nodes.values())).response_callbacks.get(name)
        return convert(reply, **_without_own(options)) if convert else reply

    def gone(self) -> list[ClientT]:
        """Remove and return the clients of nodes that are neither primaries nor seeds."""
        kept = set(self.candidates())
        return [self.nodes.pop(each) for each in [*self.nodes] if each not in kept]

    def error(self, replies: Sequence[Any]) -> redis.RedisError:
        """Return the error for the replies of all nodes, none of which is a slot map."""
        errors = [each for each in replies if isinstance(each, redis.RedisError)]
        where = ", ".join(f"{host}:{port}" for host, port in self.candidates())
        for error in errors:
            if isinstance(error, redis.AuthenticationError | redis.exceptions.NoPermissionError):
                return error
            if "cluster support disabled" in str(error):
                return WrongServer(
                    f"not a node of a cluster: {where}: JOBTRAIL_REDIS_URL must name it as redis://"
                )
        problem = errors[0] if errors else "the nodes have no slots"
        return redis.ConnectionError(f"no node of the cluster at {where} answers: {problem}")

    def home_of(self, key: str) -> Address | None:
        """Return the primary that has a key and a ready queue; None if there is none, or no map."""
        return None if self._map is None or self.is_outdated else self._map.home_of(key)

    def together(self, address: Address, commands: Sequence[Command]) -> list[Batch]:
        """Return the only batch, if all commands are sent to one node."""
        return [Batch(address, list(range(len(commands))), asking=False)]

    def planned(
        self, commands: Sequence[Command], tenant_key: str | None = None
    ) -> tuple[list[Batch], list[Any]]:
        """Group commands by node, in their order.

        Also return the replies that they have until a node replies: an error for a command whose
        slot has no node, and which is in no batch.

        Args:
            commands: the commands.
            tenant_key: a key of a tenant, if the commands have only keys of this tenant and of the
                ready queues of its node. Then one look-up is enough.

        Raises:
            TypeError: a command has no key that it can be routed by.
        """
        replies: list[Any] = [None] * len(commands)
        if tenant_key and (home := self.home_of(tenant_key)):
            return self.together(home, commands), replies
        found: dict[Address, Batch] = {}
        for index, command in enumerate(commands):
            key = key_of(command)
            address = self.address_of(slot_of(key))
            if address is None:
                replies[index] = redis.exceptions.ClusterDownError(
                    f"CLUSTERDOWN no node has the slot of {key!r}"
                )
            elif (batch := found.get(address)) is None:
                found[address] = Batch(address, [index], asking=False)
            else:
                batch.indexes.append(index)
        return list(found.values()), replies

    def redirected(self, batches: Sequence[Batch], replies: Sequence[Any]) -> list[Batch]:
        """Return the batches for the commands that were redirected."""
        found: dict[tuple[Address, bool], Batch] = {}
        for batch in batches:
            for index in batch.indexes:
                error = replies[index]
                if not isinstance(error, redis.exceptions.AskError):
                    continue
                asking = not isinstance(error, redis.exceptions.MovedError)
                self.is_outdated |= not asking
                address = (error.host or batch.address[0], error.port)
                again = found.setdefault((address, asking), Batch(address, [], asking))
                again.indexes.append(index)
        return list(found.values())


def commands_of(batch: Batch, commands: Sequence[Command], extra: Added | None) -> list[Command]:
    """Return the commands to send for a batch."""
    sent: list[Command] = [commands[index] for index in batch.indexes]
    if batch.asking:
        sent = [each for command in sent for each in (("ASKING",), command)]
    return [*sent, *(extra.commands if extra else ())]


def store(batch: Batch, found: Sequence[Any], replies: list[Any]) -> list[Any]:
    """Store the replies of a batch in their places; return those of the added commands."""
    step = 2 if batch.asking else 1
    count = len(batch.indexes) * step
    for index, reply in zip(batch.indexes, found[step - 1 : count : step], strict=True):
        replies[index] = reply
    return list(found[count:])


def key_of(command: Command) -> str | bytes:
    """Return the key that a command is routed by; empty for a command without a key.

    Raises:
        TypeError: there is no text where the command has its key, or it concerns one server.
    """
    if command[0] in _OF_ONE_SERVER:
        raise TypeError(f"{command[0]!r} must be sent to one node of a cluster")
    key = command[_key_index(command)] if len(command) > 1 and command[0] not in _KEYLESS else ""
    if isinstance(key, str | bytes):
        return key
    raise TypeError(f"a cluster has no key {key!r}")


def _key_index(command: Command) -> int:
    """Return the index of the first key of a command that has one."""
    name = command[0]
    if name in ("XREADGROUP", "XREAD"):
        # After the names of a group and its consumer, which may be any text.
        return command.index("STREAMS", 4 if name == "XREADGROUP" else 1) + 1
    return _KEY_INDEXES.get(name, 1)


def _without_own(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a command that its reply is converted with.

    The library's clients take out the others themselves.
    """
    own = ("keys", EMPTY_RESPONSE, NEVER_DECODE)
    return {name: value for name, value in options.items() if name not in own}


_KEY_INDEXES: Mapping[str | bytes | float, int] = {
    "EVAL": 3,
    "EVALSHA": 3,
    "MEMORY": 2,
    "OBJECT": 2,
    "XGROUP": 2,
    "XINFO": 2,
}
"""The index of the first key in commands whose second word is none."""
_KEYLESS = ("INFO", "PING", "TIME")
"""Commands that every node executes; they are sent to the node of slot 0."""
_OF_ONE_SERVER = ("CLUSTER", "CONFIG", "KEYS", "SCAN", "SCRIPT")

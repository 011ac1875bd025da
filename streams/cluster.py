"""The blocking client of a Redis Cluster, which sends each command to the node that has its key.

The slot map is read at the first command, and again after an error of a node or a redirection. The
commands of one call are grouped by node, sent to all nodes and then awaited, so that they take one
round trip. Redirections are followed: MOVED (the slot has another node) and ASK (the slot moves,
and the key is at the other node already) both mean that the command was not executed. Other errors
are replies, as on a single server; TRYAGAIN and CLUSTERDOWN are outages.

The keys of one command must share a slot. `streams/connection.py` makes these clients;
`streams/async_cluster.py` has the one for asyncio. Used by `api`, `consumers`, `ops`, `projections`
and `streams`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any

import redis
import redis.asyncio

from .cluster_script import ClusterScript
from .keys import ClusterKeys, Keys
from .routed_replies import RoutedReplies
from .routing import AddTo, ClusterClientMisused, ClusterState, Routed
from .servers.slots import Address, slot_of
from .silent_nodes import SilentNodes
from .wire import Command, PendingReplies, Router, checked


class Cluster(ClusterState[redis.Redis], redis.Redis, Router):
    """A blocking client; safe to share between threads.

    Of the library's client it has the methods that send one command, and `register_script`. What
    needs one pool of connections, such as a pipeline, is refused.
    """

    silent: SilentNodes | None = None
    """Nodes that are not waited for; None if each command waits for its whole timeout."""

    def set_patience(self, seconds: float) -> None:
        """Wait for a node, for its session and for its reply, for so many seconds only, at first.

        Existing connections are closed.
        """
        self.close()
        self.nodes.clear()
        self.silent = SilentNodes(seconds, self.nodes)

    def node(self, address: Address) -> redis.Redis:
        """Return the client of a node."""
        if self.silent is None or address in self.nodes:
            return super().node(address)
        node = super().node(address)
        limit = partial(self.silent.seconds, address)
        node.connection_pool.connection_kwargs["session_seconds"] = limit
        return node

    def contact(self, address: Address, commands: Sequence[Command]) -> PendingReplies:
        """Send commands to a node, whose replies are pending.

        Raises:
            redis.RedisError: the node is unavailable, or silent.
        """
        node = self.node(address)
        if self.silent is None:
            return PendingReplies(node, commands)
        self.silent.check(address)
        try:
            return PendingReplies(node, commands)
        except redis.TimeoutError:
            self.silent.add(address, node)
            raise

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

    def send(self, commands: Sequence[Command], *, partial: bool = False) -> RoutedReplies:
        """Send each command to the node of its key; `Router.send` describes the arguments.

        Raises:
            redis.RedisError: no node has the slot map; without `partial`, also if a node is lost.
        """
        return RoutedReplies(self, commands, partial=partial)

    def route(
        self,
        commands: Sequence[Command],
        add: AddTo[redis.Redis] | None = None,
        tenant_key: str | None = None,
    ) -> Routed:
        """Send each command to the node of its key, and return the replies.

        Args:
            commands: the commands.
            add: what is sent behind them.
            tenant_key: as in `planned`.

        Raises:
            redis.RedisError: no node answers, or one was lost; some commands may have been
                executed.
        """
        home = self.home_of(tenant_key) if tenant_key and add is None else None
        if home is None:
            return RoutedReplies(self, commands, add, tenant_key=tenant_key).routed()
        # The usual append of one event, without the cost of grouping.
        replies = self.ask_node(home, commands)
        for reply in replies:
            if isinstance(reply, redis.RedisError):
                begun = self.together(home, commands), replies
                return RoutedReplies(self, commands, begun=begun).routed()
        return Routed(replies, [])

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send one command, and return its reply as the library's clients do.

        Raises:
            redis.RedisError: the node is unavailable or refuses the command.
        """
        name, *rest = args  # such as "XINFO GROUPS"
        (reply,) = checked(self.route([(*name.split(), *rest)]).replies)
        return self.converted(name, reply, options)

    def register_script(self, script: str | bytes | memoryview) -> ClusterScript:
        """Return a script that is sent to the node of its first key."""
        return ClusterScript(self, script, self.load_script)

    def load_script(self, text: bytes) -> None:
        """Load a script into every primary that answers.

        Raises:
            redis.RedisError: a primary refuses it, or none has the slot map.
        """
        for address in self.primaries():
            with suppress(redis.ConnectionError, redis.TimeoutError):
                checked(self.ask_node(address, [("SCRIPT", "LOAD", text)]))

    def ask_node(self, address: Address, commands: Sequence[Command]) -> list[Any]:
        """Send commands to one node, and return their replies.

        Raises:
            redis.RedisError: the node is unavailable; the slot map is read again.
        """
        try:
            pending = self.contact(address, commands)
            if self.silent:
                self.silent.await_reply(address, self.node(address), pending)
            return pending.replies()
        except redis.RedisError:
            self.suspect(address)
            raise

    def primaries(self) -> dict[Address, redis.Redis]:
        """Return the client of each primary, by the slot map.

        Raises:
            redis.RedisError: no node has the slot map.
        """
        if self.is_outdated:
            self.read_map()
        return {address: self.node(address) for address in self.addresses}

    def primary_of(self, key: str) -> Address | None:
        """Return the primary of a key by the slot map.

        None if none has its slot, or it is silent.

        Raises:
            redis.RedisError: no node has the slot map.
        """
        if self.is_outdated:
            self.read_map()
        address = self.address_of(slot_of(key))
        return None if self.silent and address in self.silent else address

    def read_map(self) -> None:
        """Read the slot map from the first node that has it.

        Raises:
            redis.RedisError: no node has it.
        """
        replies = []
        for address in self.candidates():
            try:
                replies += self.ask_node(address, [("CLUSTER", "SLOTS")])
            except redis.RedisError as error:
                replies.append(error)
            if self.learn(replies[-1], address):
                for node in self.gone():
                    with suppress(redis.RedisError, OSError):  # it is of no use any more
                        node.close()
                return
        raise self.error(replies)

    def close(self) -> None:
        """Close all connections; the first error is raised after the last node."""
        with ExitStack() as stack:
            for node in self.nodes.values():
                stack.callback(node.close)


_LOST = (
    redis.ConnectionError,
    redis.TimeoutError,
    redis.exceptions.ClusterDownError,
    redis.exceptions.TryAgainError,
)


def is_lost(reply: object) -> bool:
    """Return True if a node of a cluster did not answer, or does not serve the slot now."""
    return isinstance(reply, _LOST)


def checked_served(replies: Sequence[Any]) -> Sequence[Any]:
    """Return the replies of a partial round trip, or raise the first error of a node that answers.

    On a single server it does what `checked` does.
    """
    checked([reply for reply in replies if not is_lost(reply)])
    return replies


class PartlyStored(redis.RedisError):
    """The data of some tenants was not stored, or not all of it, because of an outage.

    The data of all other tenants was stored.

    Args:
        failed: by tenant, an error of the node that has its keys.
    """

    def __init__(self, failed: Mapping[str, redis.RedisError]) -> None:
        error = next(iter(failed.values()))
        super().__init__(f"{len(failed)} tenants could not be stored: {error}")
        self.failed = failed


def keys_of(client: redis.Redis | redis.asyncio.Redis) -> Keys:
    """Return the names of keys in the deployment of a client."""
    return ClusterKeys(client) if isinstance(client, ClusterState) else Keys()


def servers_of(client: redis.Redis) -> list[redis.Redis]:
    """Return a client of each primary of the deployment, of which there is one without a cluster.

    Raises:
        redis.RedisError: no node of the cluster has the slot map.
    """
    return [*client.primaries().values()] if isinstance(client, Cluster) else [client]

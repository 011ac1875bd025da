"""Sending append plans to the nodes of a cluster, over a blocking or an asyncio client.

A durable append waits on each connection that appended, for the replicas and the disk of that node.
Used by `streams/appender.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from typing import Any, cast
from weakref import WeakKeyDictionary

import redis
import redis.asyncio

from .append_plan import Plan, check_durable, unavailable
from .async_cluster import AsyncCluster
from .cluster import Cluster
from .durability import INFO, Durability, Wait
from .entry_ids import EntryId
from .routing import AddTo, Routed
from .servers.members import most_replicas
from .shedding import SCRIPT
from .wire import Command, ask, async_round_trip, checked


class _ClusterAppends:
    """Base of both: the durability of appends to each node.

    Args:
        seconds: how long a durable append waits for the disk, and as long for replicas.
        replicas: replicas that must have it; None takes as many as the node was seen to have.
    """

    def __init__(self, seconds: float, replicas: int | None) -> None:
        self._arguments = (seconds, replicas)
        self._durability: MutableMapping[Any, Durability] = WeakKeyDictionary()
        """By the client of each node."""

    def _durability_of(self, node: Any) -> Durability:
        return self._durability.setdefault(node, Durability(node, *self._arguments))


class ClusterAppends(_ClusterAppends):
    """Sends plans over a blocking client."""

    def __init__(self, cluster: Cluster, seconds: float, replicas: int | None) -> None:
        super().__init__(seconds, replicas)
        self._cluster = cluster

    def prepare(self) -> None:
        """Read the slot map, by which ready marks get their keys, unless it was read.

        Raises:
            LogUnavailable: no node answers.
        """
        if not self._cluster.is_known:
            try:
                self._cluster.read_map()
            except redis.RedisError as error:
                raise unavailable(error) from error

    def send(self, plans: Iterable[Plan], *, durable: bool) -> list[EntryId]:
        """Send plans one after another, and return the ids of the entries.

        Raises:
            LogUnavailable: a node is unavailable or refused an event.
            NotDurable: a confirmation did not come in time.
        """
        ids = list[EntryId]()
        for plan in plans:
            try:
                routed = self._route(plan, plan.commands, durable=durable)
                if again := plan.retries(routed.replies):
                    self._cluster.load_script(SCRIPT)
                    later = self._route(plan, again, durable=durable)
                    routed = _merged(plan, routed, later)
            except redis.RedisError as error:
                raise unavailable(error) from error
            if counts := plan.counts(routed.replies):
                with suppress(redis.RedisError):  # the events of the plan were appended
                    self._cluster.route(counts)
            ids += _ids(plan, routed)
        return ids

    def _route(self, plan: Plan, commands: Sequence[Command], *, durable: bool) -> Routed:
        # Those that are sent again are appends, too, and as many at most.
        add = AddTo(self._wait, plan.appends) if durable else None
        return self._cluster.route(commands, add, tenant_key=plan.tenant_key)

    def _wait(self, node: redis.Redis) -> Wait:
        durability = self._durability_of(node)
        needed = durability.known()
        if needed is None:
            info = _info(node)
            needed = durability.learn(info)
            if durability.lacks_replicas(info):
                with suppress(redis.ResponseError):  # this user may not list the nodes
                    needed = durability.limit(most_replicas(ask(node, "CLUSTER", "NODES").decode()))
        return durability.wait(needed)


class AsyncClusterAppends(_ClusterAppends):
    """Sends plans over an asyncio client."""

    def __init__(self, cluster: AsyncCluster, seconds: float, replicas: int | None) -> None:
        super().__init__(seconds, replicas)
        self._cluster = cluster

    async def prepare(self) -> None:
        """Read the slot map unless it was read; raises as the blocking method does."""
        if not self._cluster.is_known:
            try:
                await self._cluster.read_map()
            except redis.RedisError as error:
                raise unavailable(error) from error

    async def send(self, plans: Iterable[Plan], *, durable: bool) -> list[EntryId]:
        """Send plans one after another; returns and raises what the blocking method does."""
        ids = list[EntryId]()
        for plan in plans:
            try:
                routed = await self._route(plan, plan.commands, durable=durable)
                if again := plan.retries(routed.replies):
                    await self._cluster.load_script(SCRIPT)
                    later = await self._route(plan, again, durable=durable)
                    routed = _merged(plan, routed, later)
            except redis.RedisError as error:
                raise unavailable(error) from error
            if counts := plan.counts(routed.replies):
                with suppress(redis.RedisError):
                    await self._cluster.route(counts)
            ids += _ids(plan, routed)
        return ids

    async def _route(self, plan: Plan, commands: Sequence[Command], *, durable: bool) -> Routed:
        add = AddTo(self._wait, plan.appends) if durable else None
        return await self._cluster.route(commands, add, tenant_key=plan.tenant_key)

    async def _wait(self, node: redis.asyncio.Redis) -> Wait:
        durability = self._durability_of(node)
        needed = durability.known()
        if needed is None:
            info = await _async_info(node)
            needed = durability.learn(info)
            if durability.lacks_replicas(info):
                with suppress(redis.ResponseError):
                    (nodes,) = checked(await async_round_trip(node, [("CLUSTER", "NODES")]))
                    needed = durability.limit(most_replicas(nodes.decode()))
        return durability.wait(needed)


def _merged(plan: Plan, routed: Routed, later: Routed) -> Routed:
    """Return what both calls of a plan resulted in."""
    replies = plan.merged(routed.replies, later.replies)
    return Routed(replies, [*routed.added, *later.added])


def _ids(plan: Plan, routed: Routed) -> list[EntryId]:
    """Return the ids of the entries of a plan; raises what `send` does."""
    ids = plan.entry_ids(routed.replies)
    for wait, replies in routed.added:
        check_durable(wait, replies)
    return ids


def _info(node: redis.Redis) -> Mapping[str, Any]:
    try:
        return cast("Mapping[str, Any]", node.info(*INFO))
    except redis.ResponseError:  # this user may not send INFO
        return {}


async def _async_info(node: redis.asyncio.Redis) -> Mapping[str, Any]:
    try:
        return cast("Mapping[str, Any]", await node.info(*INFO))
    except redis.ResponseError:
        return {}

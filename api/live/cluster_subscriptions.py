"""The subscriptions of a cluster: one connection to each node, by sharded Pub/Sub.

A message of a sharded channel reaches the nodes of its slot only. When the slot moves, the old node
ends the subscription; when a node is lost, its connections end. Then the channels are given to the
connections to their new nodes, and their waiters are notified once they are subscribed there. Used
by `api.app`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress

import redis
import redis.asyncio

from api.live.channels import Channel
from api.live.subscriptions import Subscriptions
from streams.async_cluster import AsyncCluster
from streams.servers.slots import Address, slot_of


def subscriptions_of(client: redis.asyncio.Redis) -> Subscriptions:
    """Return the subscriptions for the deployment of a client."""
    if isinstance(client, AsyncCluster):
        return ClusterSubscriptions(client)
    return Subscriptions(client)


class ClusterSubscriptions(Subscriptions):
    """Subscriptions to the channels of all nodes."""

    def __init__(self, cluster: AsyncCluster) -> None:
        super().__init__(cluster)
        self._cluster = cluster
        self._nodes: dict[Address, _NodeSubscriptions] = {}
        self._tasks = set[asyncio.Task[None]]()

    async def run(self) -> None:
        """Keep the connections until cancelled."""
        try:
            await asyncio.Event().wait()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _channel(self, name: str) -> Channel:
        """Return a channel, which is subscribed from now on.

        Raises:
            redis.RedisError: no node has the channel's slot, or none has the slot map.
        """
        if self._existing(name) is None:
            await self._cluster.refresh()
        if (found := self._existing(name)) is not None:
            return found
        address = self._cluster.address_of(slot_of(name))
        if address is None:
            raise redis.exceptions.ClusterDownError(f"no node has the slot of {name}")
        return self._node(address).adopt(name, Channel())

    def _existing(self, name: str) -> Channel | None:
        for node in self._nodes.values():
            if name in node.channels:
                return node.channels[name]
        return None

    def _node(self, address: Address) -> _NodeSubscriptions:
        """Return the subscriptions of a node; their connection is made where there was none."""
        node = self._nodes.get(address)
        if node is None:
            node = self._nodes[address] = _NodeSubscriptions(self, address)
            self._start(self._run(node))
        return node

    async def _run(self, node: _NodeSubscriptions) -> None:
        await node.run()
        del self._nodes[node.address]

    async def relocate(self, node: _NodeSubscriptions) -> bool:
        """Assign the channels of a lost connection to their nodes; return True if it is needed."""
        self._cluster.is_outdated = True
        with suppress(redis.RedisError):  # then the connection is tried again
            await self._cluster.read_map()
        for name in [*node.channels]:
            owner = self._cluster.address_of(slot_of(name))
            if owner not in (None, node.address):
                self._node(owner).adopt(name, node.channels.pop(name))
        return bool(node.channels) or node.address in self._cluster.addresses

    def move(self, name: str, channel: Channel, source: _NodeSubscriptions) -> None:
        """Subscribe to a channel whose slot has left its node."""
        self._start(self._move(name, channel, source))

    async def _move(self, name: str, channel: Channel, source: _NodeSubscriptions) -> None:
        self._cluster.is_outdated = True
        with suppress(redis.RedisError):
            await self._cluster.read_map()
        # A node that does not have it refuses; `relocate` follows.
        owner = self._cluster.address_of(slot_of(name)) or source.address
        if self._existing(name) is None:
            self._node(owner).adopt(name, channel)

    def node_client(self, address: Address) -> redis.asyncio.Redis:
        """Return the client of a node."""
        return self._cluster.node(address)

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _NodeSubscriptions(Subscriptions):
    """Subscriptions to the channels of one node."""

    _subscribe, _unsubscribe = "SSUBSCRIBE", "SUNSUBSCRIBE"
    _message, _subscribed, _unsubscribed = b"smessage", b"ssubscribe", b"sunsubscribe"
    _channels_per_command = 1  # those of one command must share a slot

    def __init__(self, all_: ClusterSubscriptions, address: Address) -> None:
        super().__init__(all_.node_client(address))
        self.address = address
        self._all = all_
        self._was_made = False

    @property
    def channels(self) -> dict[str, Channel]:
        """The channels that must be subscribed, by name."""
        return self._channels

    async def _is_needed(self) -> bool:
        was_made, self._was_made = self._was_made, True
        return await self._all.relocate(self) if was_made else True

    def _on_unsubscribed(self, name: str, channel: Channel) -> None:
        del self._channels[name]
        self._set_requested(self._requested - {name})
        channel.on_lost()
        self._all.move(name, channel, self)

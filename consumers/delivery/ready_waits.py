"""Waiting for the first ready mark, in one queue or in one of each node of a cluster.

On a cluster, one BZPOPMIN is outstanding on each node. One that was not answered when another was
stays outstanding, and is collected before the next lease: the mark that it removes meanwhile waits
for that long. Used by `consumers.delivery.ready`.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import redis

from streams.cluster import Cluster
from streams.connection import SOCKET_TIMEOUT
from streams.keys import QueueKeys
from streams.servers.slots import Address
from streams.wire import PendingReplies, answered, ask

REFUSED_SECONDS = 0.1
"""The pause when every node refused to wait."""


class Waits(ABC):
    """Waits for ready marks."""

    @abstractmethod
    def collect(self) -> Mapping[QueueKeys, bytes]:
        """Return the tenants whose marks were removed since the last call, by queue."""

    @abstractmethod
    def wait(self, queues: Sequence[QueueKeys], seconds: float) -> Mapping[QueueKeys, bytes]:
        """Wait for the first mark in these queues, and remove it; as `collect`.

        Raises:
            redis.RedisError: Redis is unavailable or refuses the command.
        """


def waits_of(client: redis.Redis) -> Waits:
    """Return the waits for the deployment of a client."""
    return _NodeWaits(client) if isinstance(client, Cluster) else _SingleWait(client)


class _SingleWait(Waits):
    """The wait on a single server."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def collect(self) -> Mapping[QueueKeys, bytes]:
        return {}

    def wait(self, queues: Sequence[QueueKeys], seconds: float) -> Mapping[QueueKeys, bytes]:
        (queue,) = queues
        woken = ask(self._client, "BZPOPMIN", queue.ready, seconds)
        return {queue: woken[1]} if woken else {}


class _Outstanding(NamedTuple):
    address: Address
    pending: PendingReplies
    until: float
    """When the node counts as lost if it has not answered, in monotonic seconds."""


class _NodeWaits(Waits):
    """The waits on the nodes of a cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._outstanding: dict[QueueKeys, _Outstanding] = {}

    def collect(self) -> Mapping[QueueKeys, bytes]:
        return self._received(0) if self._outstanding else {}

    def wait(self, queues: Sequence[QueueKeys], seconds: float) -> Mapping[QueueKeys, bytes]:
        deadline, sent = time.monotonic() + seconds, set[QueueKeys]()
        while (left := deadline - time.monotonic()) > 0:
            # Once each: a slot that moves refuses at once, for as long as it does.
            missing = [each for each in queues if each not in self._outstanding.keys() | sent]
            sent.update(missing)
            error = self._send(missing, left)
            if not self._outstanding:
                if error is not None:
                    raise error
                time.sleep(min(left, REFUSED_SECONDS))
            elif woken := self._received(left):
                return woken
        return {}

    def _send(self, queues: Iterable[QueueKeys], seconds: float) -> redis.RedisError | None:
        """Send the commands; return the last error of a node."""
        last = None
        for queue in queues:
            address = self._cluster.primary_of(queue.ready)
            if address is None:
                continue
            try:
                pending = self._cluster.contact(address, [("BZPOPMIN", queue.ready, seconds)])
            except redis.RedisError as error:
                self._cluster.suspect(address)
                last = error
            else:
                until = time.monotonic() + seconds + SOCKET_TIMEOUT
                self._outstanding[queue] = _Outstanding(address, pending, until)
        return last

    def _received(self, seconds: float) -> Mapping[QueueKeys, bytes]:
        """Wait for replies, and return the tenants in them; forget nodes that were lost."""
        done = answered([each.pending for each in self._outstanding.values()], seconds)
        now, woken = time.monotonic(), dict[QueueKeys, bytes]()
        for queue, (address, pending, until) in [*self._outstanding.items()]:
            if pending in done:
                if tenant := self._tenant(address, pending):
                    woken[queue] = tenant
            elif now >= until:
                pending.give_up()
                self._cluster.suspect(address)
            else:
                continue
            del self._outstanding[queue]
        return woken

    def _tenant(self, address: Address, pending: PendingReplies) -> bytes | None:
        """Return the tenant in a reply; None if there is none, as after the loss of a node."""
        try:
            (reply,) = pending.replies()
        except redis.RedisError:
            self._cluster.suspect(address)
            return None
        if isinstance(reply, redis.RedisError):
            self._cluster.is_outdated = True
            return None
        return bytes(reply[1]) if reply else None

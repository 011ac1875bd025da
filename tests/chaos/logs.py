"""The servers with the streams: one, those that Sentinels watch, or a cluster."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType
from typing import Self

from ops.devstack import EmbeddedRedis
from streams.connection import connect
from tests.support.clusters import HASTY_MS, RedisCluster, redis_cluster
from tests.support.proxy import Proxy
from tests.support.replication import plain
from tests.support.sentinels import Watched, watched
from tests.support.servers import server_folder


class Logs(ABC):
    """The servers of a run."""

    durable: bool
    """True if producers append durably: a failover may lose other appends."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Start the servers."""
        with ExitStack() as stack:
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop them."""
        self._stack.close()

    @property
    @abstractmethod
    def url(self) -> str:
        """The URL for the judge."""

    @property
    def consumers_url(self) -> str:
        """The URL for consumers."""
        return self.url

    @property
    def producers_url(self) -> str:
        """The URL for producers."""
        return self.url

    @abstractmethod
    def _start(self, stack: ExitStack) -> None: ...


class OneServer(Logs):
    """One server that keeps all that it acknowledges, behind a proxy for each side."""

    durable = False

    def _start(self, stack: ExitStack) -> None:
        self.redis = stack.enter_context(
            EmbeddedRedis(stack.enter_context(server_folder()), persist=True)
        )
        self.keep_all_acknowledged()
        self.to_redis = stack.enter_context(Proxy(self.redis.port))
        self.from_producers = stack.enter_context(Proxy(self.redis.port))

    @property
    def url(self) -> str:
        """The URL for the judge."""
        return self.redis.url

    @property
    def consumers_url(self) -> str:
        """The URL for consumers."""
        return self._through(self.to_redis)

    @property
    def producers_url(self) -> str:
        """The URL for producers."""
        return self._through(self.from_producers)

    def keep_all_acknowledged(self) -> None:
        """Let Redis acknowledge only what it would still have after a crash."""
        with connect(self.redis.url) as client:
            client.config_set("appendfsync", "always")

    def _through(self, proxy: Proxy) -> str:
        return self.redis.url.replace(f":{self.redis.port}/", f":{proxy.port}/")


class Replicated(Logs):
    """Servers of which each primary has a replica."""

    durable = True

    @abstractmethod
    def replace_primary(self, chance: random.Random) -> None:
        """Kill a primary, wait for the promotion of its replica, and start it as a replica."""

    @abstractmethod
    def freeze_primary(self, chance: random.Random, pause: Callable[[], None]) -> None:
        """Stop the process of a primary until it is replaced, and for a pause; then let it go on.

        Return once it is a replica.
        """

    @abstractmethod
    def hand_over(self, chance: random.Random) -> None:
        """Have the replica of a primary take over, in order."""


class WatchedServers(Replicated):
    """A primary and its replica, watched by three Sentinels."""

    def _start(self, stack: ExitStack) -> None:
        self.found: Watched = stack.enter_context(watched(3))
        self._require_replicas()

    def _require_replicas(self) -> None:
        """Have a primary refuse writes while it has no replica, as the doctor advises.

        Otherwise one that was replaced and does not know it takes writes, which are lost.
        """
        for server in self.found.servers:
            with plain(server) as client:
                client.config_set("min-replicas-max-lag", "2")
                client.config_set("min-replicas-to-write", "1")

    @property
    def url(self) -> str:
        """The URL of the service."""
        return self.found.url

    def replace_primary(self, chance: random.Random) -> None:
        """Replace the primary, as `Replicated` says."""
        del chance
        self.found.restart(self.found.replace_primary())
        self._require_replicas()

    def freeze_primary(self, chance: random.Random, pause: Callable[[], None]) -> None:
        """Freeze the primary, as `Replicated` says."""
        del chance
        self.found.freeze_primary(pause)

    def hand_over(self, chance: random.Random) -> None:
        """Have a Sentinel replace the primary, in order."""
        del chance
        self.found.fail_over()


class ClusterServers(Replicated):
    """A cluster of three primaries with a replica each."""

    def _start(self, stack: ExitStack) -> None:
        begun: AbstractContextManager[RedisCluster] = redis_cluster(3, timeout_ms=HASTY_MS)
        self.found = stack.enter_context(begun)
        self._url = self.found.url

    @property
    def url(self) -> str:
        """The URL of the first nodes."""
        return self._url

    def replace_primary(self, chance: random.Random) -> None:
        """Replace one of the primaries, as `Replicated` says."""
        self.found.fail_over(chance.randrange(3), kill=True)

    def freeze_primary(self, chance: random.Random, pause: Callable[[], None]) -> None:
        """Freeze one of the primaries, as `Replicated` says."""
        self.found.freeze(chance.randrange(3), pause)

    def hand_over(self, chance: random.Random) -> None:
        """Have the replica of a primary take over, in order."""
        self.found.fail_over(chance.randrange(3), kill=False)

    def move_slot(self, chance: random.Random, tenant: str) -> None:
        """Move the slot of a tenant key by key, and pause in the middle of it."""
        key, others = f"tenant:{{{tenant}}}:events", list(self.found.primaries)
        others.remove(self.found.owner(key))
        target = chance.choice(others)
        source = self.found.begin_move(key, target)
        while source.ask("CLUSTER", "COUNTKEYSINSLOT", source.ask("CLUSTER", "KEYSLOT", key)):
            self.found.move_keys(key, source, target)
        self.found.end_move(key, target)

    def replace_node(self, chance: random.Random) -> None:
        """Have a new node take the slots of a primary, which leaves the cluster."""
        self.found.replace(chance.randrange(3))


LOGS: dict[str, type[Logs]] = {
    "standalone": OneServer,
    "sentinel": WatchedServers,
    "cluster": ClusterServers,
}
"""By the names of `--servers`."""

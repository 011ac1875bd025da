"""Redis Clusters of real processes, on free ports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import redis

from ops.devstack.server import free_port
from streams.servers.slots import SLOTS, slot_of
from streams.wire import ask
from tests.support.replication import OpenRedis, plain
from tests.support.servers import server_folder
from tests.support.waiting import eventually

PATIENT_MS, HASTY_MS = 10_000, 1_000
"""Milliseconds of silence after which a replica replaces its primary: so many that a busy machine
does not cause it, and few for tests of that."""


class Node(OpenRedis):
    """A node of a cluster."""

    def __init__(self, folder: Path, timeout_ms: int) -> None:
        super().__init__(folder)
        self.bus_port = free_port()
        self._timeout_ms = timeout_ms

    def _argv(self, port: int) -> list[str]:
        return [
            *super()._argv(port),
            *("--cluster-enabled", "yes", "--cluster-port", str(self.bus_port)),
            *("--cluster-node-timeout", str(self._timeout_ms)),
            *("--cluster-require-full-coverage", "no", "--repl-diskless-sync-delay", "0"),
        ]

    def ask(self, *command: str | int) -> Any:
        """Return the reply to a command."""
        with plain(self) as client:
            return ask(client, *command)

    @property
    def id(self) -> str:
        """Its id in the cluster."""
        return str(self.ask("CLUSTER", "MYID").decode())


class RedisCluster(NamedTuple):
    """Three primaries, and replicas of the first ones."""

    primaries: Sequence[Node]
    replicas: Sequence[Node]

    @property
    def url(self) -> str:
        """The URL for clients; it names two nodes."""
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.primaries[:2])
        return f"redis+cluster://{hosts}"

    def owner(self, key: str) -> Node:
        """Return the primary that has the key's slot."""
        for node in (*self.primaries, *self.replicas):
            if node.alive():
                ranges = node.ask("CLUSTER", "SLOTS")
                break
        port = next(each[2][1] for each in ranges if each[0] <= slot_of(key) <= each[1])
        return next(node for node in (*self.primaries, *self.replicas) if node.port == port)

    def begin_move(self, key: str, target: Node) -> Node:
        """Begin to move the key's slot to another primary, and return the present one."""
        source, slot = self.owner(key), slot_of(key)
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)
        return source

    def move_keys(self, key: str, source: Node, target: Node) -> None:
        """Move the keys of the key's slot."""
        for name in source.ask("CLUSTER", "GETKEYSINSLOT", slot_of(key), 100):
            source.ask("MIGRATE", "127.0.0.1", target.port, name.decode(), 0, 5_000)

    def end_move(self, key: str, target: Node) -> None:
        """Assign the key's slot to the target, and wait until all nodes know."""
        slot = slot_of(key)
        for node in (target, *self.primaries):
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", target.id)


@contextmanager
def redis_cluster(replicas: int = 1, *, timeout_ms: int = PATIENT_MS) -> Iterator[RedisCluster]:
    """Start a cluster of three primaries, each with a third of the slots."""
    with ExitStack() as stack:

        def started() -> Node:
            return stack.enter_context(Node(stack.enter_context(server_folder()), timeout_ms))

        primaries = [started() for _ in range(3)]
        share = SLOTS // 3 + 1
        for number, node in enumerate(primaries):
            first = number * share
            node.ask("CLUSTER", "ADDSLOTSRANGE", first, min(first + share, SLOTS) - 1)
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        others = [started() for _ in range(replicas)]
        nodes = [*primaries, *others]
        for node in nodes[1:]:
            node.ask("CLUSTER", "MEET", "127.0.0.1", primaries[0].port, primaries[0].bus_port)
        for node in nodes:
            eventually(lambda node=node: len(_known(node)) == len(nodes), 60)  # type: ignore[misc]
        for replica, primary in zip(others, primaries, strict=False):
            replica.ask("CLUSTER", "REPLICATE", primary.id)
        for node in nodes:
            eventually(lambda node=node: _is_complete(node), 60)  # type: ignore[misc]
        for primary, _ in zip(primaries, others, strict=False):
            eventually(lambda primary=primary: _has_replica(primary), 60)  # type: ignore[misc]
        yield RedisCluster(primaries, others)


def _known(node: Node) -> list[bytes]:
    lines = node.ask("CLUSTER", "NODES").splitlines()
    return [line for line in lines if b"handshake" not in line]


def _is_complete(node: Node) -> bool:
    try:
        info = node.ask("CLUSTER", "INFO")
        complete = b"cluster_slots_ok:16384" in info and b"cluster_state:ok" in info
        return complete and len(node.ask("CLUSTER", "SLOTS")) == 3
    except redis.RedisError:
        return False


def _has_replica(node: Node) -> bool:
    with plain(node) as client:
        state = client.info("replication").get("slave0", {})
    return bool(state and state["state"] == "online")

"""Redis Clusters of real processes, on free ports."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import redis

from ops.devstack.server import free_port
from streams.servers.slots import SLOTS, slot_of
from streams.wire import Command, checked, round_trip
from tests.support.certificates import Certificate, url_of
from tests.support.processes import frozen
from tests.support.replication import AT_ONCE, OpenRedis, plain
from tests.support.servers import server_folder
from tests.support.waiting import eventually

PATIENT_MS, HASTY_MS = 10_000, 1_000
"""Milliseconds of silence after which a replica replaces its primary: so many that a busy machine
does not cause it, and few for tests of that."""


class Flavour(NamedTuple):
    """A kind of node."""

    program: Sequence[str] = ()
    """The server; by default the embedded one."""
    tls: Certificate | None = None
    """The certificate, if nodes speak TLS alone."""


EMBEDDED = Flavour()


class Node(OpenRedis):
    """A node of a cluster."""

    def __init__(self, folder: Path, timeout_ms: int, flavour: Flavour) -> None:
        super().__init__(folder, program=flavour.program)
        self.bus_port = free_port()
        self._timeout_ms = timeout_ms
        self._tls = flavour.tls

    @property
    def url(self) -> str:
        """The URL for clients."""
        return url_of(f"redis://127.0.0.1:{self.port}/0", self._tls)

    def _ready(self, pid: int, port: int) -> bool:
        url = url_of(f"redis://127.0.0.1:{port}/0", self._tls)
        with redis.Redis.from_url(url, retry=AT_ONCE) as client:
            try:
                return bool(client.info("server")["process_id"] == pid)
            except redis.RedisError:
                return False

    def _argv(self, port: int) -> list[str]:
        return [
            *super()._argv(port),
            *(self._tls.options(port) if self._tls else ()),
            *("--cluster-enabled", "yes", "--cluster-port", str(self.bus_port)),
            *("--cluster-node-timeout", str(self._timeout_ms)),
            *("--cluster-require-full-coverage", "no", "--repl-diskless-sync-delay", "0"),
        ]

    def ask(self, *command: str | int) -> Any:
        """Return the reply to a command."""
        return self.ask_all([command])[0]

    def ask_all(self, commands: Sequence[Command]) -> Sequence[Any]:
        """Return the replies to commands."""
        with plain(self) as client:
            return checked(round_trip(client, commands))

    @property
    def id(self) -> str:
        """Its id in the cluster."""
        return str(self.ask("CLUSTER", "MYID").decode())


class RedisCluster(NamedTuple):
    """Three primaries, and replicas of the first ones."""

    primaries: list[Node]
    replicas: list[Node]
    """Each is the replica of the primary at the same index."""
    start: Callable[[], Node]
    """Starts another node, outside the cluster."""
    tls: Certificate | None

    @property
    def url(self) -> str:
        """The URL for clients; it names two nodes."""
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.primaries[:2])
        return url_of(f"redis+cluster://{hosts}", self.tls)

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

    def move(self, key: str, target: Node) -> None:
        """Move the key's slot: atomically if the server can do so, else key by key."""
        source, slot = self.owner(key), slot_of(key)
        if _moves_atomically(source, [slot], target):
            return
        self.begin_move(key, target)
        while source.ask("CLUSTER", "COUNTKEYSINSLOT", slot):
            self.move_keys(key, source, target)
        self.end_move(key, target)

    def fail_over(self, number: int, *, kill: bool) -> None:
        """Have a primary's replica replace it: in order, or after the primary was killed.

        Then the primary is the replica, in step.
        """
        old, new = self.primaries[number], self.replicas[number]
        slots = [row[0] for row in old.ask("CLUSTER", "SLOTS") if row[2][1] == old.port]
        if kill:
            old.kill()
        else:
            new.ask("CLUSTER", "FAILOVER")
        eventually(lambda: _owns(new, slots), 60, "a failover")
        if kill:
            old.start()
        self._swapped(number)

    def freeze(self, number: int, pause: Callable[[], None]) -> None:
        """Stop the process of a primary until its replica has replaced it, and then for a pause.

        Then the primary, which knows of nothing, becomes the replica, in step.
        """
        old, new = self.primaries[number], self.replicas[number]
        slots = [row[0] for row in old.ask("CLUSTER", "SLOTS") if row[2][1] == old.port]
        with frozen(old.pid):
            eventually(lambda: _owns(new, slots), 60, "a failover")
            pause()
        self._swapped(number)

    def _swapped(self, number: int) -> None:
        """Swap a primary with its replica, and wait until that is in step."""
        old, new = self.primaries[number], self.replicas[number]
        self.primaries[number], self.replicas[number] = new, old
        eventually(lambda: _has_replica(new), 60, "its replica")

    def replace(self, number: int) -> None:
        """Have a new node take the slots of a primary, which then leaves the cluster and ends."""
        old, new = self.primaries[number], self.start()
        new.ask("CLUSTER", "MEET", "127.0.0.1", self.primaries[0].port, self.primaries[0].bus_port)
        nodes = [new, *self.primaries, *self.replicas]
        for node in nodes:
            eventually(lambda node=node: len(_known(node)) == len(nodes), 60)  # type: ignore[misc]
        eventually(lambda: b"cluster_state:ok" in new.ask("CLUSTER", "INFO"), 60)
        _move_slots(old, new, [node for node in self.primaries if node is not old])
        self.primaries[number] = new
        eventually(lambda: _has_replica(new), 60)
        if number < len(self.replicas):
            replica = self.replicas[number]
            eventually(lambda: _follows(replica, new), 60)
        old_id = old.id
        for node in nodes:
            if node is not old:
                eventually(lambda node=node: _forgets(node, old_id), 60)  # type: ignore[misc]
        old.stop()


@contextmanager
def redis_cluster(
    replicas: int = 1, *, timeout_ms: int = PATIENT_MS, flavour: Flavour = EMBEDDED
) -> Iterator[RedisCluster]:
    """Start a cluster of three primaries, each with a third of the slots."""
    with ExitStack() as stack:

        def started() -> Node:
            folder = stack.enter_context(server_folder())
            return stack.enter_context(Node(folder, timeout_ms, flavour))

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
        yield RedisCluster(primaries, others, started, flavour.tls)


def _move_slots(old: Node, new: Node, others: Sequence[Node]) -> None:
    """Move all slots of a primary: atomically if the server can do so, else key by key."""
    slots = [slot for row in old.ask("CLUSTER", "SLOTS") for slot in _slots(row, old)]
    if _moves_atomically(old, slots, new):
        return
    _set_slots(new, slots, "IMPORTING", old)
    _set_slots(old, slots, "MIGRATING", new)
    while any(counts := old.ask_all([("CLUSTER", "COUNTKEYSINSLOT", slot) for slot in slots])):
        for slot in (slot for slot, count in zip(slots, counts, strict=True) if count):
            for name in old.ask("CLUSTER", "GETKEYSINSLOT", slot, 100):
                old.ask("MIGRATE", "127.0.0.1", new.port, name.decode(), 0, 5_000)
    for node in (new, *others):  # the old one becomes a replica as soon as it hears of it
        _set_slots(node, slots, "NODE", new)


def _moves_atomically(source: Node, slots: Sequence[int], target: Node) -> bool:
    """Move slots as Valkey 9 does, and wait for the end; return False if the server cannot."""
    ranges = [
        row[:2] for row in source.ask("CLUSTER", "SLOTS") if set(slots) & {*_slots(row, source)}
    ]
    if len(slots) == 1:
        ranges = [[slots[0], slots[0]]]
    words = [word for first, last in ranges for word in (first, last)]
    try:
        source.ask("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", *words, "NODE", target.id)
    except redis.ResponseError as refusal:
        if "unknown subcommand" not in str(refusal):
            raise
        return False
    owned = {first for first, _ in ranges}
    for node in (target, source):
        eventually(lambda node=node: _serves(node, target, owned), 60, "the slots")  # type: ignore[misc]
    return True


def _serves(asked: Node, node: Node, slots: Collection[int]) -> bool:
    """Return whether a node has slots, by the slot map of another one."""
    rows = asked.ask("CLUSTER", "SLOTS")
    return set(slots) <= {
        slot for row in rows if row[2][1] == node.port for slot in _slots(row, node)
    }


def _forgets(node: Node, other_id: str) -> bool:
    try:
        return bool(node.ask("CLUSTER", "FORGET", other_id))
    except redis.ResponseError:  # its replica, which has not heard yet of the new primary
        return False


def _slots(row: Sequence[Any], node: Node) -> Iterable[int]:
    first, last, (_, port, *_), *_ = row
    return range(first, last + 1) if port == node.port else ()


def _set_slots(node: Node, slots: Sequence[int], state: str, other: Node) -> None:
    other_id = other.id
    node.ask_all([("CLUSTER", "SETSLOT", slot, state, other_id) for slot in slots])


def _follows(replica: Node, primary: Node) -> bool:
    role = replica.ask("ROLE")
    return bool(role[0] == b"slave" and role[2] == primary.port)


def _owns(node: Node, slots: Sequence[int]) -> bool:
    rows = node.ask("CLUSTER", "SLOTS")
    return set(slots) <= {row[0] for row in rows if row[2][1] == node.port}


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

"""The faults: each does its harm for a while and mends it; what follows is for consumers to heal.

A fault takes the rig, a seeded chance, and how many seconds it lasts.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import psycopg

from ops.processes.child import Child
from streams.cluster import keys_of, servers_of
from streams.wire import ask, round_trip
from tests.chaos.logs import ClusterServers, OneServer, Replicated
from tests.chaos.rig import GROUPS, Rig

Fault = Callable[[Rig, random.Random, float], None]


class Planned(NamedTuple):
    """One fault of a schedule."""

    kind: str
    seed: int
    seconds: float
    pause: float
    """Seconds of peace before it."""


def kill_consumer(rig: Rig, chance: random.Random, _seconds: float) -> None:
    """A consumer dies (SIGKILL)."""
    os.kill(rig.fleet.any(chance).pid, signal.SIGKILL)


def kill_between_commit_and_ack(rig: Rig, _chance: random.Random, _seconds: float) -> None:
    """Consumers of rows die between the commit and the acknowledgement, one after another."""
    kill_at_ack(rig, 3, 60)


def freeze_consumer(rig: Rig, chance: random.Random, seconds: float) -> None:
    """A consumer stands still for longer than leases and deliveries last, then goes on."""
    process = rig.fleet.any(chance)
    os.kill(process.pid, signal.SIGSTOP)
    try:
        rig.pause(2 + seconds)
    finally:
        rig.wake(process)


def cut_redis(rig: Rig, chance: random.Random, seconds: float) -> None:
    """Consumers' connections to Redis break, again and again."""
    for _ in range(5):
        one_server(rig).to_redis.cut()
        rig.pause(chance.uniform(0, seconds / 5))


def cut_producers(rig: Rig, chance: random.Random, seconds: float) -> None:
    """Producers' connections break, again and again: appends that landed are sent again."""
    for _ in range(10):
        one_server(rig).from_producers.cut()
        rig.pause(chance.uniform(0, seconds / 10))


def part_from_redis(rig: Rig, _chance: random.Random, seconds: float) -> None:
    """Consumers cannot reach Redis."""
    one_server(rig).to_redis.stop()
    rig.pause(seconds)
    one_server(rig).to_redis.start()


def slow_redis(rig: Rig, chance: random.Random, seconds: float) -> None:
    """Everything between consumers and Redis takes longer."""
    one_server(rig).to_redis.delay(chance.uniform(0.02, 0.1))
    rig.pause(seconds)
    one_server(rig).to_redis.delay(0)


def stall_redis(rig: Rig, _chance: random.Random, _seconds: float) -> None:
    """Nothing comes through to Redis for longer than a command may take."""
    one_server(rig).to_redis.stall()
    rig.pause(6)
    one_server(rig).to_redis.resume()


def cut_postgres(rig: Rig, chance: random.Random, seconds: float) -> None:
    """Consumers' connections to PostgreSQL break, again and again."""
    for _ in range(5):
        rig.to_postgres.cut()
        rig.pause(chance.uniform(0, seconds / 5))


def part_from_postgres(rig: Rig, _chance: random.Random, seconds: float) -> None:
    """Consumers cannot reach PostgreSQL."""
    rig.to_postgres.stop()
    rig.pause(seconds)
    rig.to_postgres.start()


def stall_postgres(rig: Rig, _chance: random.Random, seconds: float) -> None:
    """Nothing comes through to PostgreSQL for longer than deliveries stay a consumer's own."""
    rig.to_postgres.stall()
    rig.pause(2 + seconds)
    rig.to_postgres.resume()


def restart_redis(rig: Rig, _chance: random.Random, seconds: float) -> None:
    """Redis shuts down in order and comes back with its data."""
    one_server(rig).redis.stop()
    rig.pause(seconds)
    one_server(rig).redis.start()
    one_server(rig).keep_all_acknowledged()


def crash_redis(rig: Rig, _chance: random.Random, seconds: float) -> None:
    """Redis is killed and comes back with its data."""
    one_server(rig).redis.kill()
    rig.pause(seconds / 2)
    one_server(rig).redis.start()
    one_server(rig).keep_all_acknowledged()


def restart_postgres(rig: Rig, _chance: random.Random, seconds: float) -> None:
    """PostgreSQL shuts down in order and comes back."""
    rig.postgres.stop()
    rig.pause(seconds)
    rig.postgres.start()


def crash_postgres(rig: Rig, _chance: random.Random, seconds: float) -> None:
    """PostgreSQL is killed and comes back."""
    rig.postgres.kill()
    rig.pause(seconds / 2)
    rig.postgres.start()


def full_memory(rig: Rig, _chance: random.Random, seconds: float) -> None:
    """Redis has no memory left for writes."""
    rig.client.config_set("maxmemory", int(rig.client.info("memory")["used_memory"]) + 10_000)
    try:
        rig.pause(seconds)
    finally:
        rig.client.config_set("maxmemory", 0)


REFUSE_WRITES = """
CREATE FUNCTION refuse_writes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'refused by a fault' USING ERRCODE = '{code}';
END
$$;
CREATE TRIGGER refuse_writes BEFORE INSERT OR UPDATE ON jobs
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_writes();
"""
READ_ONLY, DISK_FULL = "25006", "53100"


def refusing_postgres(rig: Rig, chance: random.Random, seconds: float) -> None:
    """PostgreSQL takes no writes for a while: it is read-only, or its disk is full."""
    refuse = REFUSE_WRITES.format(code=chance.choice([READ_ONLY, DISK_FULL]))
    with psycopg.connect(rig.postgres.url, autocommit=True) as session:
        session.execute(refuse.encode())
        rig.pause(seconds)
        session.execute("DROP FUNCTION refuse_writes CASCADE")


def flush_scripts(rig: Rig, _chance: random.Random, _seconds: float) -> None:
    """Redis forgets its scripts."""
    for server in servers_of(rig.client):
        server.script_flush()


def destroy_groups(rig: Rig, chance: random.Random, _seconds: float) -> None:
    """Groups of some logs are gone, with what was pending in them."""
    for tenant in chance.sample(rig.tenants, 3):
        for group in chance.choice([GROUPS, GROUPS[:1], GROUPS[1:]]):
            rig.destroyed.add((tenant, group))
            ask(rig.client, "XGROUP", "DESTROY", keys_of(rig.client).stream(tenant), group)


def lose_marks(rig: Rig, _chance: random.Random, _seconds: float) -> None:
    """Everything that delivery keeps beside the logs is gone."""
    for server in servers_of(rig.client):
        names = list(server.scan_iter(match="jobtrail:*", count=1_000))
        round_trip(server, [("DEL", name) for name in names])


def skew_marks(rig: Rig, chance: random.Random, _seconds: float) -> None:
    """Marks come from clocks that are years off."""
    for group in GROUPS:
        for tenant in rig.tenants:
            score = (time.time() + chance.choice([1e8, -1e8])) * 1000
            rig.client.zadd(keys_of(rig.client).ready_of(group, tenant), {tenant: score})


def replace_primary(rig: Rig, chance: random.Random, _seconds: float) -> None:
    """A primary is killed, its replica is promoted, and it comes back as a replica."""
    replicated(rig).replace_primary(chance)


def freeze_primary(rig: Rig, chance: random.Random, seconds: float) -> None:
    """A primary stands still, its replica is promoted, and it goes on as if nothing had been."""
    replicated(rig).freeze_primary(chance, lambda: rig.pause(seconds))


def hand_over(rig: Rig, chance: random.Random, _seconds: float) -> None:
    """A replica takes over from its primary in order."""
    replicated(rig).hand_over(chance)


def move_slots(rig: Rig, chance: random.Random, _seconds: float) -> None:
    """Slots of three tenants move to other primaries, key by key."""
    for tenant in chance.sample(rig.tenants, 3):
        cluster(rig).move_slot(chance, tenant)


def replace_node(rig: Rig, chance: random.Random, _seconds: float) -> None:
    """A node joins the cluster and takes all slots of a primary, which leaves."""
    cluster(rig).replace_node(chance)


_EVERYWHERE = (
    kill_consumer,
    kill_between_commit_and_ack,
    freeze_consumer,
    cut_postgres,
    part_from_postgres,
    stall_postgres,
    restart_postgres,
    crash_postgres,
    refusing_postgres,
    flush_scripts,
    destroy_groups,
    lose_marks,
    skew_marks,
)
_OF_ONE_SERVER = (
    cut_redis,
    cut_producers,
    part_from_redis,
    slow_redis,
    stall_redis,
    restart_redis,
    crash_redis,
    full_memory,
)
_OF_REPLICATED = (replace_primary, freeze_primary, hand_over)
_OF_CLUSTER = (*_OF_REPLICATED, move_slots, replace_node)

FAULTS: dict[str, dict[str, Fault]] = {
    servers: {fault.__name__: fault for fault in (*_EVERYWHERE, *faults)}
    for servers, faults in (
        ("standalone", _OF_ONE_SERVER),
        ("sentinel", _OF_REPLICATED),
        ("cluster", _OF_CLUSTER),
    )
}
"""The faults of each kind of servers."""


def schedule(
    seed: int, rounds: int, longest: float, servers: str = "standalone", only: Sequence[str] = ()
) -> Sequence[Planned]:
    """Plan rounds of faults, each kind once a round in random order.

    Args:
        seed: decides everything.
        rounds: how often each kind comes.
        longest: the longest time that a fault lasts, in seconds.
        servers: one of `FAULTS`.
        only: the kinds; by default all of these servers.
    """
    chance = random.Random(seed)
    planned = []
    for _ in range(rounds):
        kinds = sorted(only or FAULTS[servers])
        chance.shuffle(kinds)
        planned += [
            Planned(
                kind, chance.getrandbits(32), chance.uniform(0.3, longest), chance.uniform(0, 0.5)
            )
            for kind in kinds
        ]
    return planned


def one_server(rig: Rig) -> OneServer:
    """Return the only server of a rig."""
    assert isinstance(rig.logs, OneServer)
    return rig.logs


def replicated(rig: Rig) -> Replicated:
    """Return the servers of a rig, of which each primary has a replica."""
    assert isinstance(rig.logs, Replicated)
    return rig.logs


def cluster(rig: Rig) -> ClusterServers:
    """Return the cluster of a rig."""
    assert isinstance(rig.logs, ClusterServers)
    return rig.logs


def kill_at_ack(rig: Rig, times: int, patience: float) -> None:
    """Let so many consumers of rows die between commit and acknowledgement; `patience` in seconds.

    Events must keep coming meanwhile.
    """
    argv = [sys.executable, "-m", "tests.chaos.kill_at_ack", str(times)]
    process = Child(argv, env=rig.environ(), output=rig.log.fileno())
    if not process.wait(patience):
        process.kill()
        rig.complaints.append(f"killing {times} consumers at their acknowledgement took too long")
    elif process.poll() != 0:
        rig.complaints.append("a consumer did not die at its acknowledgement")

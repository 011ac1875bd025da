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
        rig.to_redis.cut()
        rig.pause(chance.uniform(0, seconds / 5))


def cut_producers(rig: Rig, chance: random.Random, seconds: float) -> None:
    """Producers' connections break, again and again: appends that landed are sent again."""
    for _ in range(10):
        rig.from_producers.cut()
        rig.pause(chance.uniform(0, seconds / 10))


def part_from_redis(rig: Rig, _chance: random.Random, seconds: float) -> None:
    """Consumers cannot reach Redis."""
    rig.to_redis.stop()
    rig.pause(seconds)
    rig.to_redis.start()


def slow_redis(rig: Rig, chance: random.Random, seconds: float) -> None:
    """Everything between consumers and Redis takes longer."""
    rig.to_redis.delay(chance.uniform(0.02, 0.1))
    rig.pause(seconds)
    rig.to_redis.delay(0)


def stall_redis(rig: Rig, _chance: random.Random, _seconds: float) -> None:
    """Nothing comes through to Redis for longer than a command may take."""
    rig.to_redis.stall()
    rig.pause(6)
    rig.to_redis.resume()


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
    rig.redis.stop()
    rig.pause(seconds)
    rig.redis.start()
    rig.keep_all_acknowledged()


def crash_redis(rig: Rig, _chance: random.Random, seconds: float) -> None:
    """Redis is killed and comes back with its data."""
    rig.redis.kill()
    rig.pause(seconds / 2)
    rig.redis.start()
    rig.keep_all_acknowledged()


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
    rig.client.script_flush()


def destroy_groups(rig: Rig, chance: random.Random, _seconds: float) -> None:
    """Groups of some logs are gone, with what was pending in them."""
    for tenant in chance.sample(rig.tenants, 3):
        for group in chance.choice([GROUPS, GROUPS[:1], GROUPS[1:]]):
            rig.destroyed.add((tenant, group))
            rig.client.execute_command("XGROUP", "DESTROY", f"tenant:{tenant}:events", group)


def lose_marks(rig: Rig, _chance: random.Random, _seconds: float) -> None:
    """Everything that delivery keeps beside the logs is gone."""
    names = list(rig.client.scan_iter(match="jobtrail:*", count=1_000))
    if names:
        rig.client.delete(*names)


def skew_marks(rig: Rig, chance: random.Random, _seconds: float) -> None:
    """Marks come from clocks that are years off."""
    for group in GROUPS:
        for tenant in rig.tenants:
            score = (time.time() + chance.choice([1e8, -1e8])) * 1000
            rig.client.zadd(f"jobtrail:ready:{group}", {tenant: score})


FAULTS: dict[str, Fault] = {
    fault.__name__: fault
    for fault in (
        kill_consumer,
        kill_between_commit_and_ack,
        freeze_consumer,
        cut_redis,
        cut_producers,
        part_from_redis,
        slow_redis,
        stall_redis,
        cut_postgres,
        part_from_postgres,
        stall_postgres,
        restart_redis,
        crash_redis,
        restart_postgres,
        crash_postgres,
        full_memory,
        refusing_postgres,
        flush_scripts,
        destroy_groups,
        lose_marks,
        skew_marks,
    )
}


def schedule(seed: int, rounds: int, longest: float) -> Sequence[Planned]:
    """Plan rounds of faults, each kind once a round in random order; `longest` is in seconds."""
    chance = random.Random(seed)
    planned = []
    for _ in range(rounds):
        kinds = sorted(FAULTS)
        chance.shuffle(kinds)
        planned += [
            Planned(
                kind, chance.getrandbits(32), chance.uniform(0.3, longest), chance.uniform(0, 0.5)
            )
            for kind in kinds
        ]
    return planned


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

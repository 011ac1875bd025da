"""The confirmations that a durable append waits for: replicas, and the disk.

The replicas needed are a number that was configured, or else as many as the primary was ever seen
to have. A server that has fewer cannot lower that number: after a failover an open connection may
still reach the old primary, which lost its replicas and whose writes will be discarded. Such an
append is NotDurable, whatever the disk says.

The disk counts beside them where the server keeps an append-only file (WAITAOF, from 7.2). A server
with neither disk nor replicas gives no more than a plain append. With the usual `appendfsync
everysec` the disk's confirmation takes up to a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from math import ceil
from typing import Any, NamedTuple

import redis

from .connection import LogUnavailable
from .wire import Command

DURABLE_SECONDS = 3.0
"""How long to wait for the disk, and as long for the replicas."""
LOOK_AGAIN_SECONDS = 1.0
"""Seconds after which a durable append asks again what the server has: a replica that was added
since must count before a failover makes it the primary."""
SLICE_SECONDS = 0.4
"""How long one command waits: no reply may take as long as a client's socket timeout."""
INFO = ("server", "persistence", "replication")


class NotDurable(LogUnavailable):
    """It was appended, but may be lost in a failover; a retry with the same event is safe."""


class Assurance(NamedTuple):
    """The confirmations that one append needs."""

    disk: bool = False
    replicas: int = 0
    """Replicas that must have it."""


def assurance_of(info: Mapping[str, Any]) -> Assurance:
    """Return what a server has by its INFO: its disk, and the replicas that are in step."""
    version = str(info.get("redis_version", "0")).split(".")[:2]
    has_waitaof = [int(part) for part in version if part.isdigit()] >= [7, 2]
    found = (info.get(f"slave{number}") for number in range(int(info.get("connected_slaves", 0))))
    in_step = sum(isinstance(one, dict) and one.get("state") == "online" for one in found)
    return Assurance(has_waitaof and bool(info.get("aof_enabled")), in_step)


class Wait:
    """The commands that wait, to be sent on the connection that appended, and their replies.

    Each waits for a slice of the time; once what it waits for is there, the rest return at once.
    """

    def __init__(self, assurance: Assurance, seconds: float, socket_timeout: float | None) -> None:
        self._assurance = assurance
        longest = min(SLICE_SECONDS, (socket_timeout or SLICE_SECONDS * 2) / 2)
        slices = max(1, ceil(seconds / longest))
        ms = max(1, ceil(seconds * 1000 / slices))  # 0 would be for ever
        replicas, disk = ("WAIT", assurance.replicas, ms), ("WAITAOF", 1, 0, ms)
        self._replica_waits = slices if assurance.replicas else 0
        self.commands: list[Command] = [
            *[replicas] * self._replica_waits,
            *([disk] * slices if assurance.disk else ()),
        ]

    def missing(self, replies: Sequence[Any]) -> str | None:
        """Return what did not come in time, or None."""
        waited, synced = replies[: self._replica_waits], replies[self._replica_waits :]
        return self._replicas_missing(waited) or self._disk_missing(synced)

    def _replicas_missing(self, replies: Sequence[Any]) -> str | None:
        """Return why the replicas needed do not have it; a refused WAIT is a reason too."""
        needed, reached = self._assurance.replicas, 0
        for reply in replies:
            if isinstance(reply, redis.RedisError):
                return f"whether {needed} replicas have it cannot be asked: {reply}"
            reached = max(reached, int(reply))
        return None if reached >= needed else f"{reached} of {needed} replicas have it"

    def _disk_missing(self, replies: Sequence[Any]) -> str | None:
        """Return why it is not on disk; where we may not ask, the disk does not count."""
        reached = 0
        for reply in replies:
            if isinstance(reply, redis.RedisError):
                return None if _not_for_us(reply) else str(reply)
            reached = max(reached, int(reply[0]))
        return None if reached or not replies else "it is not on disk yet"


def _not_for_us(error: redis.RedisError) -> bool:
    return isinstance(error, redis.exceptions.NoPermissionError) or str(error).startswith(
        "unknown command"
    )


class Durability:
    """The needs of one client's durable appends; safe to share between threads.

    Args:
        seconds: how long to wait for the disk, and as long for the replicas.
        replicas: how many must have each append; None takes as many as were ever seen. All
            appenders of a client share what was seen, also those that are made later.
    """

    def __init__(
        self,
        client: Any,
        seconds: float,
        replicas: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if replicas is not None and replicas < 0:
            raise ValueError(f"durable_replicas must be a number from 0, not {replicas}")
        self._client = client
        self._seconds = seconds
        self._replicas = replicas
        self._clock = clock
        self._disk = False
        self._until = float("-inf")

    def known(self) -> Assurance | None:
        """Return what is needed, or None where the server must be asked again."""
        return self._needed() if self._clock() < self._until else None

    def learn(self, info: Mapping[str, Any]) -> Assurance:
        """Remember an answer for a while, and the replicas in it for good."""
        self._disk, in_step = assurance_of(info)
        if in_step:
            self._seen()[in_step] = None
        self._until = self._clock() + LOOK_AGAIN_SECONDS
        return self._needed()

    def forget(self) -> None:
        """Ask again next time, because the server may be another; the replicas are kept."""
        self._until = float("-inf")

    def wait(self, assurance: Assurance) -> Wait:
        """Build the wait for a blocking or an asyncio client."""
        timeout = self._client.connection_pool.connection_kwargs.get("socket_timeout")
        return Wait(assurance, self._seconds, timeout)

    def _needed(self) -> Assurance:
        # A copy in one step: other threads add to it.
        replicas = max([0, *self._seen()]) if self._replicas is None else self._replicas
        return Assurance(self._disk, replicas)

    def _seen(self) -> dict[int, None]:
        """Return the numbers of replicas that were seen through this client.

        They are kept with its pool of connections, which all clients and appenders of one server
        share. Numbers are only ever added, each in one step, so that no thread can lower the
        greatest, and no lock is held across a fork.
        """
        pool = vars(self._client.connection_pool)
        seen: dict[int, None] = pool.setdefault("_jobtrail_replicas_seen", {})
        return seen

"""Durability: the confirmations of replicas and disk that a durable append waits for.

The number of replicas is configured, or else the greatest number that the primary was ever seen to
have. A server with fewer replicas cannot lower it: after a failover an open connection may still
reach the old primary, which has lost its replicas and whose writes will be discarded. The append is
NotDurable then, even if the disk confirms it.

The disk is required as well if the server has an append-only file (WAITAOF, from Redis 7.2). On a
server without disk and replicas, a durable append is a plain one. With the usual setting
`appendfsync everysec`, the disk's confirmation takes up to a second. Used by `streams`,
`ops.doctor.cluster.checks` and `ops.doctor.redis_checks`.
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
"""Seconds to wait for the disk, and as many for the replicas."""
INFO_SECONDS = 1.0
"""Seconds after which a durable append reads INFO again: a replica that was added must count before
a failover makes it the primary."""
SLICE_SECONDS = 0.4
"""Seconds that one command waits, less than the socket timeout of a client."""
INFO = ("server", "persistence", "replication")


class NotDurable(LogUnavailable):
    """The event was appended, but can be lost in a failover; retry with the same event."""


class Assurance(NamedTuple):
    """Confirmations that one append needs."""

    disk: bool = False
    replicas: int = 0
    """Number of replicas that must have the entry."""


def assurance_of(info: Mapping[str, Any]) -> Assurance:
    """Return the confirmations that a server can give: of its disk, and of replicas in sync."""
    version = str(info.get("redis_version", "0")).split(".")[:2]
    has_waitaof = [int(part) for part in version if part.isdigit()] >= [7, 2]
    found = (info.get(f"slave{number}") for number in range(int(info.get("connected_slaves", 0))))
    in_step = sum(isinstance(one, dict) and one.get("state") == "online" for one in found)
    return Assurance(has_waitaof and bool(info.get("aof_enabled")), in_step)


class Wait:
    """Commands that wait, to be sent on the connection that appended, and their replies.

    Each command waits for a part of the time; after the confirmation the others return at once.
    """

    def __init__(self, assurance: Assurance, seconds: float, socket_timeout: float | None) -> None:
        self._assurance = assurance
        longest = min(SLICE_SECONDS, (socket_timeout or SLICE_SECONDS * 2) / 2)
        slices = max(1, ceil(seconds / longest))
        ms = max(1, ceil(seconds * 1000 / slices))  # 0 would wait forever
        replicas, disk = ("WAIT", assurance.replicas, ms), ("WAITAOF", 1, 0, ms)
        self._replica_waits = slices if assurance.replicas else 0
        self.commands: list[Command] = [
            *[replicas] * self._replica_waits,
            *([disk] * slices if assurance.disk else ()),
        ]

    def missing(self, replies: Sequence[Any]) -> str | None:
        """Return the confirmations that did not come in time, as text for an error, or None."""
        waited, synced = replies[: self._replica_waits], replies[self._replica_waits :]
        return self._replicas_missing(waited) or self._disk_missing(synced)

    def _replicas_missing(self, replies: Sequence[Any]) -> str | None:
        """Return why the replicas have not confirmed; a refused WAIT is a reason too."""
        needed, reached = self._assurance.replicas, 0
        for reply in replies:
            if isinstance(reply, redis.RedisError):
                return f"whether {needed} replicas have it cannot be asked: {reply}"
            reached = max(reached, int(reply))
        return None if reached >= needed else f"{reached} of {needed} replicas have it"

    def _disk_missing(self, replies: Sequence[Any]) -> str | None:
        """Return why the disk has not confirmed; a user without WAITAOF does not need it."""
        reached = 0
        for reply in replies:
            if isinstance(reply, redis.RedisError):
                return None if _is_not_permitted(reply) else str(reply)
            reached = max(reached, int(reply[0]))
        return None if reached or not replies else "it is not on disk yet"


def _is_not_permitted(error: redis.RedisError) -> bool:
    return isinstance(error, redis.exceptions.NoPermissionError) or str(error).startswith(
        "unknown command"
    )


class Durability:
    """Confirmations that one client's durable appends need; safe to share between threads.

    Args:
        client: a blocking or an asyncio client.
        seconds: how long to wait for the disk, and as long for the replicas.
        replicas: number of replicas that must have each append. None takes the greatest number
            that any appender of the same client has seen.
        clock: seconds of a clock that never goes back.

    Raises:
        ValueError: `replicas` is negative.
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
        """Return the confirmations needed, or None if INFO must be read again."""
        return self._needed() if self._clock() < self._until else None

    def learn(self, info: Mapping[str, Any]) -> Assurance:
        """Return the confirmations needed by an INFO, which is valid for `INFO_SECONDS`.

        The number of replicas in it is remembered for the life of the client.
        """
        self._disk, in_step = assurance_of(info)
        if in_step:
            self._seen()[in_step] = None
        self._until = self._clock() + INFO_SECONDS
        return self._needed()

    def lacks_replicas(self, info: Mapping[str, Any]) -> bool:
        """Return True if a server has fewer replicas now than it was seen to have."""
        return self._replicas is None and assurance_of(info).replicas < self._needed().replicas

    def limit(self, replicas: int) -> Assurance:
        """Forget numbers of replicas above that of the members of a cluster that may be some."""
        seen = self._seen()
        if more := [number for number in [*seen] if number > replicas]:
            seen[replicas] = None
        for number in more:
            seen.pop(number, None)
        return self._needed()

    def forget(self) -> None:
        """Make the next durable append read INFO again; the number of replicas stays known."""
        self._until = float("-inf")

    def wait(self, assurance: Assurance) -> Wait:
        """Build the commands that wait for these confirmations."""
        timeout = self._client.connection_pool.connection_kwargs.get("socket_timeout")
        return Wait(assurance, self._seconds, timeout)

    def _needed(self) -> Assurance:
        # A copy in one step, because other threads add to it.
        replicas = max([0, *self._seen()]) if self._replicas is None else self._replicas
        return Assurance(self._disk, replicas)

    def _seen(self) -> dict[int, None]:
        """Return the numbers of replicas that were seen with this client.

        They are kept with its connection pool, which all clients and appenders of one server share.
        Numbers are only added, each in one step, so that no thread can lower the greatest one and
        no lock is held during a fork.
        """
        pool = vars(self._client.connection_pool)
        seen: dict[int, None] = pool.setdefault("_jobtrail_replicas_seen", {})
        return seen

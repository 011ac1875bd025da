"""What a durable append waits for: whatever the server has that makes an append last.

That is its disk, where it keeps an append-only file (WAITAOF, from 7.2), and its replicas, those
that are in step (WAIT). A server with neither, or one that does not let us ask, gives no more than
a plain append, and then that is all that *durable* means. With the usual `appendfsync everysec` the
disk's word takes up to a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from math import ceil
from typing import Any, NamedTuple

import redis

from streams.connection import LogUnavailable
from streams.wire import Command

DURABLE_SECONDS = 3.0
"""How long to wait for the disk, and as long for the replicas."""
LOOK_AGAIN_SECONDS = 10.0
"""How long it is believed what a server was found to have."""
SLICE_SECONDS = 0.4
"""How long one command waits: no reply may take as long as a client's socket timeout."""
INFO = ("server", "persistence", "replication")


class NotDurable(LogUnavailable):
    """It was appended, but may be lost in a failover; a retry with the same event is safe."""


class Assurance(NamedTuple):
    """What a server has."""

    disk: bool = False
    replicas: int = 0
    """Replicas that are in step."""


def assurance_of(info: Mapping[str, Any]) -> Assurance:
    """Read what a server has from its INFO."""
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
        self.commands: list[Command] = [
            *([replicas] * slices if assurance.replicas else ()),
            *([disk] * slices if assurance.disk else ()),
        ]

    def missing(self, replies: Sequence[Any]) -> str | None:
        """Say what did not come in time, or give None."""
        reached = {"WAIT": 0, "WAITAOF": 0}
        for command, reply in zip(self.commands, replies, strict=True):
            if isinstance(reply, redis.RedisError):
                return None if _not_for_us(reply) else str(reply)
            count = reply[0] if isinstance(reply, list) else reply
            name = str(command[0])
            reached[name] = max(reached[name], int(count))
        if reached["WAIT"] < self._assurance.replicas:
            return f"{reached['WAIT']} of {self._assurance.replicas} replicas have it"
        return "it is not on disk yet" if self._assurance.disk and not reached["WAITAOF"] else None


def _not_for_us(error: redis.RedisError) -> bool:
    return isinstance(error, redis.exceptions.NoPermissionError) or str(error).startswith(
        "unknown command"
    )


class Durability:
    """What is known of the server behind one appender: looked up when needed, and after errors."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._known: Assurance | None = None
        self._until = float("-inf")

    def known(self) -> Assurance | None:
        """Give what the server has, or None where it must be asked."""
        return self._known if self._clock() < self._until else None

    def learn(self, info: Mapping[str, Any]) -> Assurance:
        """Remember an answer for a while."""
        self._known, self._until = assurance_of(info), self._clock() + LOOK_AGAIN_SECONDS
        return self._known

    def forget(self) -> None:
        """Ask again next time: the server may be another now, or have lost what it had."""
        self._until = float("-inf")

    def wait(self, assurance: Assurance, client: Any) -> Wait:
        """Build the wait for a blocking or an asyncio client."""
        timeout = client.connection_pool.connection_kwargs.get("socket_timeout")
        return Wait(assurance, self._seconds, timeout)

"""Heartbeats: each consumer's description of itself, and the number of entries that it applied.

Every consumer writes one to Redis in each interval. Used by `consumers.composition`,
`consumers.chores.samples`, and `ops.operator_view`, which lists the consumers in the console.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from typing import Any

import orjson
import redis

from consumers.chores.activity import Tally
from consumers.chores.periodic import PeriodicChore
from consumers.chores.shared_figures import Beat, valid_figures
from consumers.round_trips import round_trips, server_ms
from streams.cluster import keys_of
from streams.keys import Keys
from streams.wire import Command, ask, checked

INTERVAL_SECONDS = 10.0
ALIVE_MS = 35_000
"""The age of its last heartbeat below which a consumer counts as alive: some intervals, because a
batch may take longer than one."""
SILENT_MS = 600_000
"""The time without a heartbeat after which a consumer is removed from the list."""
LEFT_MS = 3_600_000
"""The time for which a consumer that stopped in good order stays in the list, so that operators see
where one ran that is missing."""
MAX_LEFT = 20
"""The most stopped consumers in the list: those that stopped last."""


class Heartbeat(PeriodicChore):
    """One consumer's heartbeats.

    Args:
        tally: counts what the consumer applies.
        clock: returns monotonic seconds.
    """

    name = "heartbeat"

    def __init__(
        self,
        client: redis.Redis,
        group: str,
        consumer: str,
        tally: Tally,
        *,
        keys: Keys | None = None,
        interval_seconds: float = INTERVAL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(interval_seconds, clock=clock)
        self._client, self._tally = client, tally
        self._group, self._consumer = group, consumer
        self._keys = keys or keys_of(client)
        self._since = time.time_ns() // 1_000_000
        self._waits_for: str | None = None
        self._unsettled: Sequence[str] = ()

    def leave(self) -> None:
        """Send the last counts, and mark the consumer as stopped.

        Raises:
            redis.RedisError: Redis is unavailable or refuses the command.
        """
        self._send(stopped=True)

    def while_waiting(self, server: str | None, tenants: Sequence[str]) -> None:
        """Send a heartbeat that names what the consumer waits for, if one is due.

        The first one for a server is due at once. `tenants` are those whose entries wait with it:
        they are in no queue, in which the samples would find them.

        Raises:
            redis.RedisError: Redis is unavailable or refuses the command.
        """
        is_new = server is not None and server != self._waits_for
        self._waits_for = server or self._waits_for
        if is_new or self.due():
            self.timer.set(self._interval)
            self._unsettled = tenants
            self._send(stopped=False)

    def _work(self) -> None:
        self._waits_for, self._unsettled = None, ()  # a turn has begun: nothing is waited for
        self._send(stopped=False)

    def _send(self, *, stopped: bool) -> None:
        now = server_ms(self._client)
        checked(round_trips(self._client, self._commands(now, now if stopped else None)))
        self._tally.mark_reported()

    def _facts(self, now: int, left: int | None) -> dict[str, Any]:
        """Return the fields of `Beat`."""
        return {
            "group": self._group,
            "name": self._consumer,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "since": self._since,
            "beat": now,
            "applied": self._tally.total,
            "left": left,
            "waits_for": self._waits_for,
            "unsettled": list(self._unsettled),
        }

    def _commands(self, now: int, left: int | None) -> Iterator[Command]:
        text = orjson.dumps(self._facts(now, left))
        yield "HSET", self._keys.beats(), _field(self._group, self._consumer), text
        if unreported := self._tally.total - self._tally.reported:
            yield "HINCRBY", self._keys.applied(), self._group, unreported
        activity = self._keys.activity(self._group)
        for tenant, count in self._tally.tenants.items():
            yield "ZINCRBY", activity, count, tenant


def heartbeats(client: redis.Redis, keys: Keys) -> list[dict[str, Any]]:
    """Return each consumer's last heartbeat, with the fields of `Beat`.

    Raises:
        redis.RedisError: Redis is unavailable or refuses the command.
    """
    texts = ask(client, "HVALS", keys.beats())
    return [beat.model_dump() for beat in valid_figures(Beat, texts)]


def remove_silent(client: redis.Redis, keys: Keys, now: int) -> None:
    """Remove consumers without a recent heartbeat, and those that stopped long ago.

    `now` is the server's clock in milliseconds.

    Raises:
        redis.RedisError: Redis is unavailable or refuses the command.
    """
    known = heartbeats(client, keys)
    left = sorted((each for each in known if each["left"]), key=itemgetter("left"), reverse=True)
    old = [each for each in left if now - each["left"] > LEFT_MS]
    silent = [each for each in known if not each["left"] and now - each["beat"] > SILENT_MS]
    if fields := {
        _field(each["group"], each["name"]) for each in (*silent, *old, *left[MAX_LEFT:])
    }:
        ask(client, "HDEL", keys.beats(), *fields)


def _field(group: str, consumer: str) -> str:
    return f"{group}/{consumer}"

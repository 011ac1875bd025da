"""Samples: how much each group applied and how far it is behind, every 10 s for an hour.

Every consumer's heartbeat tells what it applied; one elected consumer adds a *sample* of every
group. All of it costs what is going on, not what there is: only logs with something to do are
looked at, and a bounded number each time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

import orjson
import redis

from consumers.chores.activity import FADE_SECONDS, Tally, fading
from consumers.chores.dead_tenants import DeadTenants
from consumers.chores.election import Election
from consumers.chores.heartbeat import Heartbeat, forget_silent
from consumers.chores.kept import count_of
from consumers.dead_letters.letters import Limits
from consumers.delivery.lag import Lag, lag_of
from consumers.round_trips import encodable, server_ms, text_of
from streams.appender import GROUPS
from streams.keys import TENANT, Keys
from streams.wire import Command, ask, checked, round_trip

INTERVAL_SECONDS = 10.0
ELECTED_INTERVALS = 3
KEPT = 360
"""Samples: an hour of them."""
KEPT_SECONDS = 7_200
"""How long they outlive the last consumer."""

EXAMINE = 1_000
"""Logs that one sample looks at; where more are busy, the next looks at the next ones."""
NAMED = 10_000
"""Logs that one sample takes note of, a queue; it costs far less than to look at them."""
BEHIND = 50
"""Tenants that a sample names as furthest behind."""


class Samples:
    """One consumer's part: its heartbeat, and the samples while it is the elected one."""

    def __init__(
        self,
        client: redis.Redis,
        group: str,
        consumer: str,
        tally: Tally,
        *,
        keys: Keys | None = None,
        dead_limits: Limits | None = None,
        interval_seconds: float = INTERVAL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._keys = keys or Keys()
        self._heartbeat = Heartbeat(client, group, consumer, tally, self._keys)
        self._dead_tenants = DeadTenants(client, self._keys, dead_limits)
        self._election = Election(
            client, self._keys.sampler(), consumer, interval_seconds * ELECTED_INTERVALS
        )
        self._interval = interval_seconds
        self._clock = clock
        self._next = float("-inf")
        self._next_fade = clock() + FADE_SECONDS
        self._open: dict[str, list[Lag]] = {}

    def due(self) -> bool:
        """Whether it is time for another heartbeat."""
        return self._clock() >= self._next

    def run(self) -> None:
        """Send a heartbeat, and take a sample if this consumer is the elected one."""
        self._next = self._clock() + self._interval
        now = server_ms(self._client)
        self._heartbeat.beat(now)
        if not self._election.hold():
            self._open = {}
            self._dead_tenants.forget()
            return
        groups = self._groups()
        self._sample(groups, now)
        self._dead_tenants.tend(now)
        forget_silent(self._client, self._keys, now)
        if self._clock() >= self._next_fade:
            self._next_fade = self._clock() + FADE_SECONDS
            checked(round_trip(self._client, list(fading(groups, self._keys))))

    def leave(self) -> None:
        """Tell the rest, and let another consumer take samples."""
        self._heartbeat.beat(server_ms(self._client))
        self._heartbeat.stop()
        self._election.resign()

    def _groups(self) -> list[str]:
        names = ask(self._client, "SMEMBERS", self._keys.groups())
        registered = (encodable(text_of(name)) for name in names)
        return sorted({*registered, *GROUPS})

    def _sample(self, groups: Sequence[str], now: int) -> None:
        self._look(groups)
        flat = ask(self._client, "HGETALL", self._keys.applied())
        applied = dict(zip(map(text_of, flat[::2]), map(count_of, flat[1::2]), strict=True))
        sample = {
            "at": now,
            "groups": {
                group: self._standing(group, now) | {"applied": applied.get(group, 0)}
                for group in groups
            },
        }
        checked(round_trip(self._client, self._kept(sample, now)))

    def _kept(self, sample: Mapping[str, Any], now: int) -> list[Command]:
        samples, behind = self._keys.samples(), self._keys.behind()
        furthest = orjson.dumps({"at": now, "tenants": self._furthest()})
        return [
            ("RPUSH", samples, orjson.dumps(sample)),
            ("LTRIM", samples, -KEPT, -1),
            ("EXPIRE", samples, KEPT_SECONDS),
            ("SET", behind, furthest, "EX", int(self._interval * KEPT) + 1),
        ]

    def _look(self, groups: Sequence[str]) -> None:
        """Look at some of the logs that are marked, leased, stale, or were not settled before."""
        queues: list[Command] = [
            ("ZRANGE", name(group), 0, NAMED - 1)
            for name in (self._keys.ready, self._keys.leased, self._keys.stale)
            for group in groups
        ]
        found = checked(round_trip(self._client, queues))
        for tenant in {text_of(name) for names in found for name in names}:
            self._open.setdefault(tenant, [])
        turn = list(islice(self._open, EXAMINE))
        for tenant in turn:
            del self._open[tenant]
        # Those that are not settled go to the end of the line.
        for row in lag_of(self._client, turn, groups, self._keys):
            if row.waiting != 0 or row.pending:
                self._open.setdefault(row.tenant, []).append(row)

    def _standing(self, group: str, now: int) -> dict[str, Any]:
        rows = [row for some in self._open.values() for row in some if row.group == group]
        ages = [row.oldest_age_seconds for row in rows]
        return {
            "waiting": sum(row.waiting or 0 for row in rows),
            "pending": sum(row.pending for row in rows),
            # An entry of this very millisecond is 0 s old, and still not settled.
            "oldest_ms": now - int(max(ages) * 1000) if ages else None,
        }

    def _furthest(self) -> list[str]:
        ages = {
            tenant: max((row.oldest_age_seconds for row in rows), default=0.0)
            for tenant, rows in self._open.items()
            if TENANT.match(tenant)
        }
        return sorted(ages, key=lambda name: -ages[name])[:BEHIND]

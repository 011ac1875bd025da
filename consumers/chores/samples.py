"""Samples: what each group applied and how far it is behind, every 10 s for an hour.

One sample a minute is also kept for a day.

The elected consumer takes a *sample* of every group for the console. It examines only streams with
unsettled entries, and a bounded number of them in each sample. It also maintains other figures: the
decay of the activity, the list of consumers, the list of tenants with dead letters. Used by
`consumers.composition`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

import orjson
import redis

from consumers.chores.activity import DECAY_SECONDS, decay_commands
from consumers.chores.election import Election
from consumers.chores.heartbeat import heartbeats, remove_silent
from consumers.chores.periodic import PeriodicChore, Timer
from consumers.chores.shared_figures import count_of
from consumers.dead_letters.limits import Limits
from consumers.dead_letters.tenants import DeadTenants
from consumers.delivery.group_states import known_groups
from consumers.delivery.lag import Lag, lag_of
from consumers.delivery.ready import queued_tenants
from consumers.round_trips import encodable, server_ms
from projections.registry.lookup import HISTORY_GROUP
from streams.cluster import keys_of, servers_of
from streams.keys import TENANT, Keys
from streams.wire import Command, as_text, ask, checked, round_trip

INTERVAL_SECONDS = 10.0
MAX_SAMPLES = 360
"""The number of samples that are stored: those of an hour."""
EXPIRE_SECONDS = 7_200
"""The time after the last sample at which all samples expire."""
DAY_SAMPLES = 1_440
DAY_EXPIRE_SECONDS = 90_000
"""The same of the samples of the last day, one a minute."""

MAX_EXAMINED = 1_000
"""Streams that one sample examines; the next sample continues with the next streams."""
MAX_QUEUED = 10_000
"""Tenants that one sample takes from each queue; this costs far less than examining them."""
MAX_BEHIND = 50
"""Tenants that are listed as furthest behind."""


class Samples(PeriodicChore):
    """One consumer's part in taking samples, done while it is elected.

    Args:
        dead_limits: the limits on a tenant's dead letters.
        clock: returns monotonic seconds.
    """

    name = "samples"
    _minute = 0
    """The minute since 1970 of the last sample that is kept for a day."""

    def __init__(
        self,
        client: redis.Redis,
        consumer: str,
        *,
        keys: Keys | None = None,
        dead_limits: Limits | None = None,
        interval_seconds: float = INTERVAL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client, self._consumer = client, consumer
        self._keys = keys or keys_of(client)
        election = Election(client, self._keys.sampler(), consumer, interval_seconds)
        super().__init__(interval_seconds, election=election, clock=clock)
        self._dead_tenants = DeadTenants(client, self._keys, dead_limits)
        self._decay = Timer(clock)
        self._decay.set(DECAY_SECONDS)
        self._unsettled: dict[str, list[Lag]] = {}
        """The lag of tenants with unsettled entries; the one examined longest ago is the first."""

    def _work(self) -> None:
        now = server_ms(self._client)
        groups = list(map(encodable, known_groups(self._client, self._keys)))
        self._sample(groups, now)
        self._dead_tenants.maintain(now)
        remove_silent(self._client, self._keys, now)
        if self._decay.is_due():
            self._decay.set(DECAY_SECONDS)
            checked(round_trip(self._client, list(decay_commands(groups, self._keys))))

    def _drop_state(self) -> None:
        self._unsettled = {}
        self._dead_tenants.restart()

    def _sample(self, groups: Sequence[str], now: int) -> None:
        self._examine(groups)
        flat = ask(self._client, "HGETALL", self._keys.applied())
        applied = dict(zip(map(as_text, flat[::2]), map(count_of, flat[1::2]), strict=True))
        sample = {
            "at": now,
            "groups": {
                group: self._lag_figures(group, now) | {"applied": applied.get(group, 0)}
                for group in groups
            },
            **self._operations(),
        }
        checked(round_trip(self._client, self._write_commands(sample, now)))

    def _operations(self) -> dict[str, Any]:
        """Return what elections, starts and failovers change."""
        database = ask(self._client, "GET", self._keys.database(HISTORY_GROUP))
        servers = (server.info("server")["run_id"] for server in servers_of(self._client))
        consumers = heartbeats(self._client, self._keys)
        return {
            "sampler": self._consumer,
            "redis": ",".join(sorted(servers)),
            "database": None if database is None else encodable(as_text(database)),
            "started": max((each["since"] for each in consumers), default=None),
            "stopped": max((each["left"] for each in consumers if each["left"]), default=None),
        }

    def _write_commands(self, sample: Mapping[str, Any], now: int) -> list[Command]:
        samples, behind = self._keys.samples(), self._keys.behind()
        furthest = orjson.dumps({"at": now, "tenants": self._furthest_behind()})
        text = orjson.dumps(sample)
        commands = _kept(samples, text, MAX_SAMPLES, EXPIRE_SECONDS)
        if now // 60_000 != self._minute:
            self._minute = now // 60_000
            commands += _kept(self._keys.day_samples(), text, DAY_SAMPLES, DAY_EXPIRE_SECONDS)
        seconds = int(self._interval * MAX_SAMPLES) + 1
        return [*commands, ("SET", behind, furthest, "EX", seconds)]

    def _examine(self, groups: Sequence[str]) -> None:
        """Examine some of the tenants that are queued or were not settled before."""
        for tenant in queued_tenants(self._client, groups, self._keys, MAX_QUEUED):
            self._unsettled.setdefault(tenant, [])
        turn = list(islice(self._unsettled, MAX_EXAMINED))
        for tenant in turn:
            del self._unsettled[tenant]
        # Tenants that are not settled come last in the order of the next samples.
        for row in lag_of(self._client, turn, groups, self._keys):
            if row.waiting != 0 or row.pending:
                self._unsettled.setdefault(row.tenant, []).append(row)

    def _lag_figures(self, group: str, now: int) -> dict[str, Any]:
        rows = [row for some in self._unsettled.values() for row in some if row.group == group]
        ages = [row.oldest_age_seconds for row in rows]
        return {
            "waiting": sum(row.waiting or 0 for row in rows),
            "pending": sum(row.pending for row in rows),
            # An entry of this millisecond has the age 0, and is still not settled.
            "oldest_ms": now - int(max(ages) * 1000) if ages else None,
        }

    def _furthest_behind(self) -> list[str]:
        ages = {
            tenant: max((row.oldest_age_seconds for row in rows), default=0.0)
            for tenant, rows in self._unsettled.items()
            if TENANT.match(tenant)
        }
        return sorted(ages, key=lambda name: -ages[name])[:MAX_BEHIND]


def _kept(key: str, sample: bytes, count: int, seconds: int) -> list[Command]:
    """Build the commands that add a sample to a list of the latest ones."""
    return [("RPUSH", key, sample), ("LTRIM", key, -count, -1), ("EXPIRE", key, seconds)]

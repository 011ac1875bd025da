"""Samples: what each group applied and how far it is behind, every 10 s for an hour.

One sample a minute is also kept for a day, with the highest values of its minute.

The elected consumer takes a *sample* of every group for the console. It examines only streams with
unsettled entries, and a bounded number of them in each sample. It also maintains other figures: the
decay of the activity, the list of consumers, the list of tenants with dead letters, the history of
the most active tenants. Used by `consumers.composition`.
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
from consumers.chores.heartbeat import ALIVE_MS, heartbeats, remove_silent
from consumers.chores.minutes import MAX_TENANTS, MinutePeaks, furthest
from consumers.chores.periodic import PeriodicChore, Timer
from consumers.chores.shared_figures import DatabaseFigures, count_of, valid_figures
from consumers.dead_letters.limits import Limits
from consumers.dead_letters.tenants import DeadTenants
from consumers.delivery.group_states import known_groups
from consumers.delivery.lag import BEHIND_SECONDS, Lag, lag_of
from consumers.delivery.ready import queued_tenants
from consumers.faults import POSTGRESQL
from consumers.round_trips import encodable, server_ms
from projections.registry.lookup import HISTORY_GROUP
from streams.appender import GROUPS
from streams.cluster import keys_of, servers_of
from streams.connection import REFUSALS
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
TENANT_MINUTES = 75
"""The minutes for which the figures of tenants are stored."""

MAX_EXAMINED = 1_000
"""Streams that one sample examines; the next sample continues with the next streams."""
MAX_QUEUED = 10_000
"""Tenants that one sample takes from each queue; this costs far less than examining them."""
MAX_BEHIND = 1_000
"""Tenants that are listed as furthest behind; more are only counted."""


class Samples(PeriodicChore):
    """One consumer's part in taking samples, done while it is elected.

    Args:
        dead_limits: the limits on a tenant's dead letters.
        clock: returns monotonic seconds.
    """

    name = "samples"
    _minute = 0
    """The minute since 1970 of the last sample that is kept for a day."""
    _dead: int | None = None
    """The dead letters when they were last counted."""

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
        self._drop_state()

    def _work(self) -> None:
        now = server_ms(self._client)
        groups = list(map(encodable, known_groups(self._client, self._keys)))
        self._sample(groups, now)
        self._dead = self._dead_tenants.maintain(now)
        remove_silent(self._client, self._keys, now)
        if self._decay.is_due():
            self._decay.set(DECAY_SECONDS)
            decay = [*self._tenant_minute(now), *decay_commands(groups, self._keys)]
            checked(round_trip(self._client, decay))

    def _drop_state(self) -> None:
        self._unsettled: dict[str, list[Lag]] = {}
        """The lag of tenants with unsettled entries; the one examined longest ago is the first."""
        self._peaks = MinutePeaks()
        self._silent: set[str] = set()
        """The groups that had no live consumer at the last sample."""
        self._dead_tenants.restart()

    def _sample(self, groups: Sequence[str], now: int) -> None:
        consumers = heartbeats(self._client, self._keys)
        self._examine(groups, [name for each in consumers for name in each["unsettled"]])
        flat = ask(self._client, "HGETALL", self._keys.applied())
        applied = dict(zip(map(as_text, flat[::2]), map(count_of, flat[1::2]), strict=True))
        sample = {
            "at": now,
            "groups": {
                group: self._lag_figures(group, now) | {"applied": applied.get(group, 0)}
                for group in groups
            },
            **self._operations(groups, consumers, now),
            "dead": self._dead,
        }
        self._peaks.add(sample, self._ages())
        checked(round_trip(self._client, self._write_commands(sample, now)))

    def _database(self, consumers: Sequence[Mapping[str, Any]], now: int) -> dict[str, Any]:
        """Return whether PostgreSQL is away, and how many jobs are silent if that is known."""
        text = ask(self._client, "GET", self._keys.database_figures())
        known = next(valid_figures(DatabaseFigures, [text or b""]), None)
        waits = any(each["waits_for"] == POSTGRESQL for each in consumers if _is_alive(each, now))
        return {
            "silent": known.silent if known else None,
            "database_away": waits or bool(known and known.away),
        }

    def _operations(
        self, groups: Sequence[str], consumers: Sequence[Mapping[str, Any]], now: int
    ) -> dict[str, Any]:
        """Return what elections, starts, failovers and outages change."""
        database = ask(self._client, "GET", self._keys.database(HISTORY_GROUP))
        servers = [server.info("server")["run_id"] for server in servers_of(self._client)]
        return {
            "sampler": self._consumer,
            "redis": ",".join(sorted(servers)),
            "database": None if database is None else encodable(as_text(database)),
            "started": max((each["since"] for each in consumers), default=None),
            "stopped": max((each["left"] for each in consumers if each["left"]), default=None),
            "missing": self._missing(groups, consumers, now),
            "refused": sum(map(_refused, servers_of(self._client))),
            **self._database(consumers, now),
        }

    def _missing(
        self, groups: Sequence[str], consumers: Sequence[Mapping[str, Any]], now: int
    ) -> list[str]:
        """Return the groups without a live consumer, now and at the last sample.

        During a restart a group may have none for a moment.
        """
        alive = {each["group"] for each in consumers if _is_alive(each, now)}
        before, self._silent = self._silent, set(groups) - alive
        return sorted(before & self._silent)

    def _write_commands(self, sample: Mapping[str, Any], now: int) -> list[Command]:
        ages = self._ages()
        behind = {
            "at": now,
            "tenants": [tenant for tenant, _ in furthest(ages, MAX_BEHIND)],
            "count": sum(age >= BEHIND_SECONDS for age in ages.values()),
        }
        commands = _kept(self._keys.samples(), orjson.dumps(sample), MAX_SAMPLES, EXPIRE_SECONDS)
        if now // 60_000 != self._minute:
            self._minute = now // 60_000
            text = orjson.dumps(self._peaks.take())
            commands += _kept(self._keys.day_samples(), text, DAY_SAMPLES, DAY_EXPIRE_SECONDS)
        seconds = int(self._interval * MAX_SAMPLES) + 1
        return [*commands, ("SET", self._keys.behind(), orjson.dumps(behind), "EX", seconds)]

    def _tenant_minute(self, now: int) -> list[Command]:
        """Build the commands that store the minute of the tenants that stand out."""
        name = self._keys.activity(GROUPS[0])
        flat = ask(self._client, "ZREVRANGE", name, 0, MAX_TENANTS - 1, "WITHSCORES")
        scores = zip(map(as_text, flat[::2]), flat[1::2], strict=True)
        minute = {
            "at": now,
            "activity": {name: round(float(n), 1) for name, n in scores if TENANT.match(name)},
            "late": self._peaks.take_late(),
        }
        text = orjson.dumps(minute)
        return _kept(self._keys.tenant_minutes(), text, TENANT_MINUTES, EXPIRE_SECONDS)

    def _examine(self, groups: Sequence[str], waiting: Sequence[str]) -> None:
        """Examine tenants that are queued, that wait with a consumer, or were not settled."""
        queued = queued_tenants(self._client, groups, self._keys, MAX_QUEUED)
        for tenant in (*queued, *filter(TENANT.match, waiting)):
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
        worst = max(rows, key=lambda row: row.oldest_age_seconds, default=None)
        behind = [row for row in rows if row.oldest_age_seconds >= BEHIND_SECONDS]
        return {
            "waiting": sum(row.waiting or 0 for row in rows),
            "pending": sum(row.pending for row in rows),
            # An entry of this millisecond has the age 0, and is still not settled.
            "oldest_ms": now - int(worst.oldest_age_seconds * 1000) if worst else None,
            "behind": len(behind),
            "furthest": worst.tenant if worst and behind and TENANT.match(worst.tenant) else None,
        }

    def _ages(self) -> dict[str, float]:
        """Return the age of the oldest unsettled entry by tenant, in seconds."""
        return {
            tenant: round(max((row.oldest_age_seconds for row in rows), default=0.0), 3)
            for tenant, rows in self._unsettled.items()
            if TENANT.match(tenant)
        }


def _is_alive(beat: Mapping[str, Any], now: int) -> bool:
    return not beat["left"] and bool(now - beat["beat"] < ALIVE_MS)


def _refused(server: redis.Redis) -> int:
    """Return how many commands a server refused for want of memory, disk or replicas."""
    errors = server.info("errorstats")
    return sum(int(errors.get(f"errorstat_{code}", {}).get("count", 0)) for code in REFUSALS)


def _kept(key: str, sample: bytes, count: int, seconds: int) -> list[Command]:
    """Build the commands that add a sample to a list of the latest ones."""
    return [("RPUSH", key, sample), ("LTRIM", key, -count, -1), ("EXPIRE", key, seconds)]

"""Samples: how fast each group applies and how far it is behind, every 10 s for an hour.

Every consumer *beats*: it says who it is and adds what it applied since its last beat to its
group's total and to its tenants' *activity* (entries of late, an average that fades over five
minutes). One elected consumer adds a *sample* of every group. All of it costs what is going on, not
what there is: only logs with something to do are looked at, and a bounded number each time.
"""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from math import exp
from operator import itemgetter
from typing import Any, TypeVar

import orjson
import redis

from consumers.dead_letters import DeadLetters
from consumers.election import Election
from consumers.groups import Delivery
from consumers.lag import Lag
from consumers.runner import Projection
from streams.appender import GROUPS
from streams.discovery import START, scan_streams
from streams.entries import Entry
from streams.entry_ids import of_reply
from streams.keys import TENANT, Keys
from streams.wire import Command, ask, checked, round_trip

T = TypeVar("T")

INTERVAL_SECONDS = 10.0
ELECTED_INTERVALS = 3
KEPT = 360
"""Samples: an hour of them."""
KEPT_SECONDS = 7_200
"""How long they outlive the last consumer."""
FORGET_BEAT_MS = 600_000
"""A consumer that has been silent for so long is gone and not shown any more."""

AT_ONCE = 500
"""Commands or logs in one round trip."""
EXAMINE = 1_000
"""Logs that one sample looks at; where more are busy, the next looks at the next ones."""
NAMED = 10_000
"""Logs that one sample takes note of, a queue; it costs far less than to look at them."""
BEHIND = 50
"""Tenants that a sample names as furthest behind."""
DEAD_TENANTS = 1_000
"""Tenants that one sample looks at for whether they still have dead letters."""
SCAN_CALLS = 20
"""SCANs in one sample, for dead letters that nobody told of."""

FADE_SECONDS, FADE_MINUTES = 60.0, 5
FADE = exp(-1 / FADE_MINUTES)
"""What is left of the activity after each minute."""
FORGOTTEN = 0.2
"""Activity under this is none: the last entry was some ten minutes ago."""


class Tally:
    """What one consumer applied."""

    def __init__(self) -> None:
        self.total = 0
        self.reported = 0
        """How much of it the last beat told."""
        self.tenants: Counter[str] = Counter()
        """By tenant, since that beat."""

    def add(self, entries: Sequence[Entry]) -> None:
        """Count a batch."""
        self.total += len(entries)
        self.tenants.update(map(_TENANT, entries))

    def told(self) -> None:
        """Begin anew after a beat."""
        self.reported = self.total
        self.tenants.clear()


_TENANT: Callable[[Entry], str] = itemgetter(0)


class Counted:
    """A projection whose batches are counted once they are applied."""

    def __init__(self, projection: Projection, tally: Tally) -> None:
        self._projection = projection
        self._tally = tally

    def apply(self, entries: Sequence[Entry]) -> None:
        """Apply and count; a batch that has to be applied again counts again."""
        self._projection.apply(entries)
        self._tally.add(entries)


class NotedDeadLetters(DeadLetters):
    """Buries, and notes whose the letter is: who asks need not search the keyspace."""

    def __init__(self, client: redis.Redis, group: str, *, keys: Keys | None = None) -> None:
        super().__init__(client, group, keys=keys)
        self._noted_in = client, keys or Keys()

    def bury(self, delivery: Delivery, reason: str, detail: str) -> None:
        """Bury one entry; a note that is lost is made up for by the scan for dead letters."""
        super().bury(delivery, reason, detail)
        client, keys = self._noted_in
        now = time.time_ns() // 1_000_000
        ask(client, "ZADD", keys.dead_tenants(), now, delivery.tenant)


class Samples:
    """One consumer's part: its beats, and the samples while it is the elected one."""

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
        self._client = client
        self._group = group
        self._consumer = consumer
        self._tally = tally
        self._keys = keys or Keys()
        self._election = Election(
            client, self._keys.sampler(), consumer, interval_seconds * ELECTED_INTERVALS
        )
        self._interval = interval_seconds
        self._clock = clock
        self._next = float("-inf")
        self._next_fade = clock() + FADE_SECONDS
        self._since = time.time_ns() // 1_000_000
        self._open: dict[str, list[Lag]] = {}
        self._cursor = START

    def due(self) -> bool:
        """Whether it is time for another beat."""
        return self._clock() >= self._next

    def run(self) -> None:
        """Beat, and take a sample if this consumer is the elected one."""
        self._next = self._clock() + self._interval
        now = server_ms(self._client)
        self._beat(now)
        if not self._election.hold():
            self._open, self._cursor = {}, START
            return
        self._sample(now)
        if self._clock() >= self._next_fade:
            self._next_fade = self._clock() + FADE_SECONDS
            self._fade()

    def leave(self) -> None:
        """Tell the rest and take the name off the list: it ends as it should."""
        self._beat(server_ms(self._client))
        ask(self._client, "HDEL", self._keys.beats(), self._field)
        self._election.resign()

    @property
    def _field(self) -> str:
        return f"{self._group}/{self._consumer}"

    def _beat(self, now: int) -> None:
        facts = {
            "group": self._group,
            "name": self._consumer,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "since": self._since,
            "beat": now,
            "applied": self._tally.total,
        }
        activity, news = self._keys.activity(self._group), self._tally.total - self._tally.reported
        commands: list[Command] = [("HSET", self._keys.beats(), self._field, orjson.dumps(facts))]
        if news:
            commands.append(("HINCRBY", self._keys.applied(), self._group, news))
        commands += [
            ("ZINCRBY", activity, count, name) for name, count in self._tally.tenants.items()
        ]
        for some in _chunks(commands):
            checked(round_trip(self._client, some))
        self._tally.told()

    def _sample(self, now: int) -> None:
        groups = self._groups()
        self._look(groups)
        applied = _numbers(ask(self._client, "HGETALL", self._keys.applied()))
        sample = {
            "at": now,
            "groups": {
                group: self._standing(group, now) | _applied(applied, group) for group in groups
            },
        }
        checked(round_trip(self._client, self._kept(sample, now)))
        self._tend_dead(now)
        self._forget_silent(now)

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
        queues = [
            name(group)
            for name in (self._keys.ready, self._keys.leased, self._keys.stale)
            for group in groups
        ]
        found = checked(
            round_trip(self._client, [("ZRANGE", name, 0, NAMED - 1) for name in queues])
        )
        for tenant in {_text(name) for names in found for name in names}:
            self._open.setdefault(tenant, [])
        turn = list(islice(self._open, EXAMINE))
        rows: dict[str, list[Lag]] = {tenant: [] for tenant in turn}
        for tenant in turn:
            del self._open[tenant]
        for row in lag_of(self._client, turn, groups, self._keys):
            rows[row.tenant].append(row)
        # Those that are not settled go to the end of the line.
        self._open |= {tenant: some for tenant, some in rows.items() if any(map(_unsettled, some))}

    def _standing(self, group: str, now: int) -> dict[str, Any]:
        rows = [row for some in self._open.values() for row in some if row.group == group]
        age = max((row.oldest_age_seconds for row in rows), default=0.0)
        return {
            "waiting": sum(row.waiting or 0 for row in rows),
            "pending": sum(row.pending for row in rows),
            "oldest_ms": now - int(age * 1000) if age else None,
        }

    def _furthest(self) -> list[str]:
        ages = {
            tenant: max((row.oldest_age_seconds for row in rows), default=0.0)
            for tenant, rows in self._open.items()
        }
        return sorted(filter(_encodable, ages), key=lambda name: -ages[name])[:BEHIND]

    def _groups(self) -> list[str]:
        registered = map(_text, ask(self._client, "SMEMBERS", self._keys.groups()))
        return sorted({*registered, *GROUPS})

    def _tend_dead(self, now: int) -> None:
        """Forget tenants that have no dead letters any more, find those not noted."""
        noted = self._keys.dead_tenants()
        self._scan_dead(noted, now)
        tenants = ask(self._client, "ZREVRANGE", noted, 0, DEAD_TENANTS - 1)
        counts = dead_counts(self._client, tenants, self._keys)
        gone = [name for name, count in zip(tenants, counts, strict=True) if not count]
        if gone:
            ask(self._client, "ZREM", noted, *gone)
            # One that was buried just then had its note removed: look again after it.
            again = dead_counts(self._client, gone, self._keys)
            for name, count in zip(gone, again, strict=True):
                if count:
                    ask(self._client, "ZADD", noted, now, name)

    def _scan_dead(self, noted: str, now: int) -> None:
        start, end = self._keys.dead("*").split("*")
        for _ in range(SCAN_CALLS):
            self._cursor, names = scan_streams(self._client, self._cursor, f"{start}*{end}")
            for name in names:
                tenant = name.removeprefix(start.encode()).removesuffix(end.encode())
                ask(self._client, "ZADD", noted, "NX", now, tenant)
            if self._cursor == START:
                return

    def _forget_silent(self, now: int) -> None:
        silent = [
            f"{beat['group']}/{beat['name']}"
            for beat in beats(self._client, self._keys)
            if now - beat["beat"] > FORGET_BEAT_MS
        ]
        if silent:
            ask(self._client, "HDEL", self._keys.beats(), *silent)

    def _fade(self) -> None:
        commands: list[Command] = []
        for group in self._groups():
            name = self._keys.activity(group)
            commands.append(("ZUNIONSTORE", name, 1, name, "WEIGHTS", FADE))
            commands.append(("ZREMRANGEBYSCORE", name, "-inf", f"({FORGOTTEN}"))
        checked(round_trip(self._client, commands))


def per_minute(activity: float) -> float:
    """Give the entries a minute that a tenant's activity stands for."""
    return activity * (1 - FADE)


def lag_of(
    client: redis.Redis, tenants: Sequence[str], groups: Sequence[str], keys: Keys
) -> Iterator[Lag]:
    """Give the lag of these groups for these tenants; one without a log is left out.

    As `consumers.lag` gives it for all tenants, in two round trips for each `AT_ONCE`.
    """
    for some in _chunks(tenants):
        asked = round_trip(client, [("XINFO", "GROUPS", keys.stream(name)) for name in some])
        known = [
            (tenant, group, _facts(reply, group))
            for tenant, reply in zip(some, asked, strict=True)
            if not isinstance(reply, redis.ResponseError)
            for group in groups
        ]
        yield from _lags(client, known, keys)


def beats(client: redis.Redis, keys: Keys) -> list[dict[str, Any]]:
    """Give what each consumer last said of itself."""
    return [orjson.loads(text) for text in ask(client, "HVALS", keys.beats())]


def dead_counts(client: redis.Redis, tenants: Iterable[bytes], keys: Keys) -> list[int]:
    """Give how many dead letters each of these tenants has."""
    names = [keys.dead(_text(tenant)) for tenant in tenants]
    return [
        count
        for some in _chunks(names)
        for count in checked(round_trip(client, [("XLEN", name) for name in some]))
    ]


def server_ms(client: redis.Redis) -> int:
    """Give the server's clock, in milliseconds since 1970: hosts need not agree on theirs."""
    seconds, micros = ask(client, "TIME")
    return int(seconds) * 1000 + int(micros) // 1000


def _lags(
    client: redis.Redis, known: Sequence[tuple[str, str, Mapping[bytes, Any]]], keys: Keys
) -> Iterator[Lag]:
    commands: list[Command] = []
    for tenant, group, facts in known:
        log, after = keys.stream(tenant), facts.get(b"last-delivered-id", b"0-0")
        commands += [
            ("XRANGE", log, b"(" + after, "+", "COUNT", 1),
            ("XPENDING", log, group),
            ("XLEN", log),
        ]
    now, replies = server_ms(client) / 1000, iter(round_trip(client, commands))
    for (tenant, group, facts), ahead, pending, length in zip(
        known, replies, replies, replies, strict=True
    ):
        oldest = [entry[0] for entry in _list(ahead)] + _list(pending)[1:2]
        ages = [now - of_reply(entry).ms / 1000 for entry in oldest if entry is not None]
        # A group that has never read has everything before it.
        waiting = facts.get(b"lag") if facts else length
        count = int(facts.get(b"pending", 0))
        yield Lag(tenant, group, waiting, count, max([0.0, *ages]))


def _list(reply: Any) -> list[Any]:
    """Give a reply that is a list; the log or the group may have gone away meanwhile."""
    return list(reply) if isinstance(reply, list) else []


def _facts(rows: Sequence[Any], group: str) -> Mapping[bytes, Any]:
    for row in rows:
        facts: dict[bytes, Any] = dict(zip(row[::2], row[1::2], strict=True))
        if facts[b"name"] == group.encode():
            return facts
    return {}


def _unsettled(row: Lag) -> bool:
    return bool(row.waiting or row.pending or row.oldest_age_seconds)


def _applied(applied: Mapping[str, int], group: str) -> dict[str, int]:
    return {"applied": applied.get(group, 0)}


def _numbers(flat: Sequence[bytes]) -> dict[str, int]:
    return {_text(name): int(value) for name, value in zip(flat[::2], flat[1::2], strict=True)}


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[at : at + AT_ONCE] for at in range(0, len(items), AT_ONCE))


def _encodable(tenant: str) -> bool:
    return TENANT.match(tenant) is not None


def _text(raw: bytes) -> str:
    return raw.decode(errors="surrogateescape")

"""The sweep: finding what nobody announced.

Appends mark their tenant ready; a raw XADD does not, and a failover can lose marks and groups. One
elected consumer (of whichever group) looks at all logs every 1.5 s, twice as often while they are
few:

- *discover*: SCAN for logs, a bounded slice of the keyspace at a time;
- *look*: one XREAD over the known logs for entries after those it has seen;
- *follow*: logs with news stay *open* until every registered group has acknowledged all of them;
  a group that is behind is marked, one whose deliveries grew old is given to its consumers to take
  over.

Idle logs cost the server a third of a microsecond each, and nothing is remembered for ever: every
minute, and after losing its election, the sweep starts from nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import redis
import structlog

from consumers.election import Election
from consumers.groups import GroupState, group_states
from consumers.standing import Standing
from streams.appender import GROUPS, mark
from streams.discovery import START, scan_streams
from streams.entry_ids import of_reply
from streams.keys import DEAD_END, STREAM_END, SWEPT_PATTERN, Keys
from streams.wire import Command, ask, checked, round_trip

_LOG = structlog.get_logger(__name__)

INTERVAL_SECONDS = 1.5
FEW = 2_000
"""Logs that cost next to nothing to look at: up to so many, nobody need wait a whole interval."""
ELECTED_INTERVALS = 2.5
"""How long an election lasts: a sweeper that died is replaced after so many intervals."""
SHOWN_INTERVALS = 2 * ELECTED_INTERVALS
"""How long what a sweep found is shown in metrics, if it is the sweeper's last."""
FORGET_SECONDS = 60.0
SCAN_CALLS = 50
"""SCANs in one sweep."""
LOOK_AT = 1_000
"""Logs in one XREAD."""
FOLLOW = 500
"""Open logs examined in one sweep."""
STALE_AT_ONCE = 16


class Sweep:
    """One consumer's part in the sweep: sweeping while elected, and taking what it found stale."""

    def __init__(
        self,
        client: redis.Redis,
        group: str,
        consumer: str,
        *,
        keys: Keys | None = None,
        reclaim_idle_seconds: float = 30.0,
        interval_seconds: float = INTERVAL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        tenants_in_metrics: bool = False,
    ) -> None:
        self._client = client
        self._group = group
        self._keys = keys or Keys()
        self._reclaim_idle_ms = int(reclaim_idle_seconds * 1000)
        self._interval = interval_seconds
        self._clock = clock
        self._standing = Standing(client, self._keys, tenants=tenants_in_metrics)
        self._election = Election(
            client, self._keys.sweeper(), consumer, interval_seconds * ELECTED_INTERVALS
        )
        self._next = self._stale_next = float("-inf")
        self._forget()

    def due(self) -> bool:
        """Whether it is time to sweep again."""
        return self._clock() >= self._next

    def run(self) -> None:
        """Sweep once, if this consumer is the elected one."""
        self._next = self._clock() + self._interval / (2 if len(self._seen) <= FEW else 1)
        elected = self._election.hold()
        if not elected or self._election.anew or self._clock() >= self._forget_at:
            self._forget()
        if not elected:
            self._standing.withdraw()
            return
        groups = self._groups()
        self._discover()
        self._look(groups)
        self._follow(groups)
        self._standing.count()
        self._standing.publish(groups, len(self._seen), self._interval * SHOWN_INTERVALS)

    def seconds_left(self) -> float:
        """How long until it is time to sweep again."""
        return max(0.0, self._next - self._clock())

    def resign(self) -> None:
        """Let another consumer sweep."""
        self._standing.withdraw()
        self._election.resign()

    def take_stale(self) -> list[str]:
        """Give tenants with deliveries for this group to take over; each is given once."""
        if self._clock() < self._stale_next:
            return []
        self._stale_next = self._clock() + self._interval
        found = ask(self._client, "ZPOPMIN", self._keys.stale(self._group), STALE_AT_ONCE)
        return [_text(name) for name in found[::2]]

    def _forget(self) -> None:
        self._seen: dict[bytes, bytes] = {}
        self._open: dict[bytes, None] = {}
        self._cursor = START
        self._forget_at = self._clock() + FORGET_SECONDS

    def _groups(self) -> Sequence[str]:
        registered = {_text(name) for name in ask(self._client, "SMEMBERS", self._keys.groups())}
        return sorted(registered | set(GROUPS))

    def _discover(self) -> None:
        for _ in range(SCAN_CALLS):
            self._cursor, names = scan_streams(self._client, self._cursor, SWEPT_PATTERN)
            self._standing.found_dead(name for name in names if name.endswith(DEAD_END))
            for name in names:
                if name.endswith(STREAM_END):
                    self._seen.setdefault(name, b"0-0")
            if self._cursor == START:
                return

    def _look(self, groups: Sequence[str]) -> None:
        """Find logs with entries after those seen, mark them for all groups, keep them open."""
        names, after = list(self._seen), list(self._seen.values())
        for at in range(0, len(names), LOOK_AT):
            some = names[at : at + LOOK_AT], after[at : at + LOOK_AT]
            reply = ask(self._client, "XREAD", "COUNT", 1, "STREAMS", *some[0], *some[1])
            news = [name for name, _ in reply or ()]
            self._send(
                command for name in news for command in mark(self._keys, groups, self._tenant(name))
            )
            self._remember(news)

    def _remember(self, logs: Sequence[bytes]) -> None:
        newest = [("XREVRANGE", name, "+", "-", "COUNT", 1) for name in logs]
        for name, reply in zip(logs, round_trip(self._client, newest), strict=True):
            if reply and not isinstance(reply, redis.RedisError):
                self._seen[name] = reply[0][0]
                self._open[name] = None

    def _follow(self, groups: Sequence[str]) -> None:
        """See to the open logs, a bounded number in turn, until nothing of them is left to do."""
        logs = list(islice(self._open, FOLLOW))
        opened: dict[bytes, dict[str, GroupState | None]] = {}
        for log, states in zip(logs, group_states(self._client, logs), strict=True):
            del self._open[log]
            at = {state.name: state for state in states if state.name in groups}
            newest = of_reply(self._seen[log])
            behind = [name for name in groups if name not in at or at[name].last_delivered < newest]
            pending = [name for name in at if at[name].pending]
            self._send(mark(self._keys, behind, self._tenant(log)))
            self._give_stale(log, pending)
            opened[log] = {name: at.get(name) for name in [*behind, *pending]}
            if opened[log]:
                self._open[log] = None
        self._standing.look(opened)

    def _give_stale(self, log: bytes, groups: Sequence[str]) -> None:
        old = ("IDLE", self._reclaim_idle_ms, "-", "+", 1)
        idle = round_trip(self._client, [("XPENDING", log, group, *old) for group in groups])
        now = time.time_ns() // 1_000_000
        self._send(
            ("ZADD", self._keys.stale(group), "NX", now, self._tenant(log))
            for group, reply in zip(groups, idle, strict=True)
            if reply and not isinstance(reply, redis.RedisError)
        )

    def _tenant(self, log: bytes) -> str:
        return self._keys.tenant_of(_text(log))

    def _send(self, commands: Iterator[Command]) -> None:
        waiting = list(commands)
        if waiting:
            checked(round_trip(self._client, waiting))


def _text(name: bytes) -> str:
    return name.decode(errors="surrogateescape")

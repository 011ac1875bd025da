"""The sweep: finding what nobody announced.

Appends mark their tenant ready; a raw XADD does not, and a failover can lose marks and groups. One
elected consumer (of whichever group) looks at all logs every 1.5 s, twice as often while they are
few:

- *look*: one XREAD over the known logs for entries after those it has seen;
- *discover*: SCAN for logs, a bounded slice of the keyspace at a time;
- *check*: where the groups stand in logs that were just discovered, and once a minute in all; a
  bounded number at a time, and only while the ready queues are short, so that very many new logs
  delay no known one;
- *follow*: logs with news stay *open* until every registered group has acknowledged all of them;
  a group that is behind is marked, one whose deliveries grew old is given to its consumers to take
  over.

Idle logs cost the server a third of a microsecond each. Nothing is remembered for ever: a log that
SCAN has not found for a minute is forgotten, and after losing its election the sweep starts from
nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from importlib.resources import files
from itertools import islice

import redis
import structlog

from consumers.chores.election import Election
from consumers.chores.stream_figures import Standing
from consumers.delivery.group_states import GroupState, group_states
from consumers.faults import is_of_key
from consumers.round_trips import round_trips
from streams.append_plan import ready_marks
from streams.appender import GROUPS
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
SCAN_CALLS, SCAN_SECONDS = 400, 0.15
"""SCANs in one sweep, and how long they may take."""
CHECK = 300
"""Logs checked at once, and marks in a ready queue up to which more are added by checking."""
CHECK_SECONDS = 0.1
"""The pause, in seconds, before more of the waiting streams are checked."""
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
        self._reset_ahead = client.register_script(
            files("consumers.chores").joinpath("reset_ahead.lua").read_text(encoding="utf-8")
        )
        self._next = self._check_next = self._stale_next = float("-inf")
        self._forget()

    def due(self) -> bool:
        """Whether it is time to sweep again."""
        return self._clock() >= self._next

    def check_due(self) -> bool:
        """Return whether discovered streams are unchecked and the next check is due."""
        return bool(self._unchecked) and self._clock() >= self._check_next

    def check_more(self) -> None:
        """Check some of the logs that the last sweep left unchecked."""
        self._check(self._groups())

    def run(self) -> None:
        """Sweep once, if this consumer is the elected one."""
        begun = self._clock()
        self._next = begun + self._interval / (2 if len(self._seen) <= FEW else 1)
        self._sweep()
        # At most half of the time: on a busy machine the queues would be read too seldom.
        ended = self._clock()
        self._next = max(self._next, ended + min(ended - begun, self._interval))

    def _sweep(self) -> None:
        elected = self._election.hold()
        if not elected or self._election.anew:
            self._forget()
        if not elected:
            self._standing.withdraw()
            return
        groups = self._groups()
        # What is known first: it waits for nothing that is new.
        self._look(groups)
        self._discover()
        self._check(groups)
        self._follow(groups, list(islice(self._open, FOLLOW)))
        self._standing.count()
        self._standing.publish(groups, len(self._seen), self._interval * SHOWN_INTERVALS)
        # A long sweep must not cost the election: a new sweeper knows no stream.
        self._election.hold()

    def seconds_left(self) -> float:
        """Return the seconds until the next sweep or check is due."""
        next_run = min(self._next, self._check_next) if self._unchecked else self._next
        return max(0.0, next_run - self._clock())

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
        self._unchecked: dict[bytes, None] = {}
        self._open: dict[bytes, None] = {}
        self._found = set[bytes]()
        """Logs that SCAN has found since the last forgetting."""
        self._cursor = START
        self._forget_at = self._clock() + FORGET_SECONDS

    def _groups(self) -> Sequence[str]:
        registered = {_text(name) for name in ask(self._client, "SMEMBERS", self._keys.groups())}
        return sorted(registered | set(GROUPS))

    def _discover(self) -> None:
        until = self._clock() + SCAN_SECONDS
        for _ in range(SCAN_CALLS):
            self._cursor, names = scan_streams(self._client, self._cursor, SWEPT_PATTERN)
            self._standing.found_dead(name for name in names if name.endswith(DEAD_END))
            logs = [name for name in names if name.endswith(STREAM_END)]
            self._found.update(logs)
            for name in logs:
                if name not in self._seen:
                    self._unchecked[name] = None
            if self._cursor == START:
                self._forget_lost()
                return
            if self._clock() >= until:
                return

    def _forget_lost(self) -> None:
        """After a whole scan, and once a minute: forget what is gone, and check the rest again."""
        if self._clock() < self._forget_at:
            return
        self._seen = {name: seen for name, seen in self._seen.items() if name in self._found}
        self._unchecked = dict.fromkeys([*self._unchecked, *self._seen])
        self._found.clear()
        self._forget_at = self._clock() + FORGET_SECONDS

    def _look(self, groups: Sequence[str]) -> None:
        """Find logs with entries after those seen, mark them for all groups, keep them open."""
        known = list(self._seen.items())
        for at in range(0, len(known), LOOK_AT):
            news = self._news(known[at : at + LOOK_AT])
            self._send(
                command
                for name in news
                for command in ready_marks(self._keys, groups, self._tenant(name))
            )
            self._remember(news)

    def _news(self, known: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
        """Return the logs with entries after those seen; forget those that are streams no more."""
        names, after = [name for name, _ in known], [seen for _, seen in known]
        try:
            reply = ask(self._client, "XREAD", "COUNT", 1, "STREAMS", *names, *after)
        except redis.ResponseError as error:
            if not is_of_key(error):
                raise
        else:
            return [name for name, _ in reply or ()]
        commands = [("XREAD", "COUNT", 1, "STREAMS", name, seen) for name, seen in known]
        replies = round_trip(self._client, commands)
        for name, reply in zip(names, replies, strict=True):
            if isinstance(reply, redis.RedisError):
                self._drop(name, reply)
        return [
            name
            for name, reply in zip(names, replies, strict=True)
            if reply and not isinstance(reply, redis.RedisError)
        ]

    def _drop(self, log: bytes, error: redis.RedisError) -> None:
        """Forget a log at whose key something else stands; SCAN finds it once it is one again."""
        checked([] if is_of_key(error) else [error])
        for known in (self._seen, self._open, self._unchecked):
            known.pop(log, None)
        _LOG.error("stream_unreadable", tenant=self._tenant(log), error=str(error))

    def _check(self, groups: Sequence[str]) -> None:
        """See how groups stand in logs that are new, or were not checked for a minute.

        The first and the last discovered take turns: neither waits for all the others.
        """
        self._check_next = self._clock() + CHECK_SECONDS
        if not self._unchecked:
            return
        lengths = [("ZCARD", self._keys.ready(group)) for group in groups]
        room = CHECK - min(checked(round_trip(self._client, lengths)))
        half = max(0, room) // 2
        logs = list(islice(self._unchecked, room - half)) if room > 0 else []
        logs += [name for name in islice(reversed(self._unchecked), half) if name not in logs[-1:]]
        logs = list(dict.fromkeys(logs))
        for log in logs:
            del self._unchecked[log]
            self._seen.setdefault(log, b"0-0")
        self._follow(groups, self._remember(logs))

    def _remember(self, logs: Sequence[bytes]) -> list[bytes]:
        """Keep the newest entry of each log, and open those that have any; return these."""
        newest = [("XREVRANGE", name, "+", "-", "COUNT", 1) for name in logs]
        opened = []
        for name, reply in zip(logs, round_trip(self._client, newest), strict=True):
            if isinstance(reply, redis.RedisError):
                self._drop(name, reply)
                continue
            self._seen[name] = reply[0][0] if reply else b"0-0"
            if reply:
                self._open[name] = None
                opened.append(name)
        return opened

    def _follow(self, groups: Sequence[str], logs: Sequence[bytes]) -> None:
        """See to open logs until nothing of them is left to do."""
        opened: dict[bytes, dict[str, GroupState | None]] = {}
        marks, pending = list[Command](), list[tuple[bytes, str]]()
        for log, states in zip(logs, group_states(self._client, logs), strict=True):
            self._open.pop(log, None)
            at = {state.name: state for state in states if state.name in groups}
            newest = of_reply(self._seen.get(log, b"0-0"))
            if any(state.last_delivered > newest for state in at.values()):
                self._reset(log, groups)
            behind = [name for name in groups if name not in at or at[name].last_delivered < newest]
            unsettled = [name for name in at if at[name].pending]
            marks += ready_marks(self._keys, behind, self._tenant(log))
            pending += ((log, name) for name in unsettled)
            opened[log] = {name: at.get(name) for name in [*behind, *unsettled]}
            if opened[log]:
                self._open[log] = None
        # In one round trip for all: one for each stream would delay the known ones by seconds.
        self._send(marks)
        self._give_stale(pending)
        self._standing.look(opened)

    def _reset(self, log: bytes, groups: Sequence[str]) -> None:
        """Begin again with a group that is ahead of all ids of its log: it would get nothing."""
        try:
            reset = self._reset_ahead(keys=[log], args=list(groups))
        except redis.ResponseError as error:
            self._drop(log, error)
            return
        for name in reset:
            _LOG.warning("group_was_ahead", tenant=self._tenant(log), group=_text(name))

    def _give_stale(self, pending: Sequence[tuple[bytes, str]]) -> None:
        """Queue the tenants of streams whose deliveries to a group have grown old."""
        old = ("IDLE", self._reclaim_idle_ms, "-", "+", 1)
        idle = round_trips(self._client, (("XPENDING", *each, *old) for each in pending))
        now = time.time_ns() // 1_000_000
        self._send(
            ("ZADD", self._keys.stale(group), "NX", now, self._tenant(log))
            for (log, group), reply in zip(pending, idle, strict=True)
            if reply and not isinstance(reply, redis.RedisError)
        )

    def _tenant(self, log: bytes) -> str:
        return self._keys.tenant_of(_text(log))

    def _send(self, commands: Iterable[Command]) -> None:
        checked(round_trips(self._client, commands))


def _text(name: bytes) -> str:
    return name.decode(errors="surrogateescape")

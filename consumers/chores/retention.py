"""Retention: entries leave a log once nobody needs them there.

An entry goes when it is older than the age limit, every *registered* group has acknowledged it and
all before it, and so has the history's group, which acknowledges after its commit (what it could
not store is a dead letter). A group *holds back* a log where it keeps an entry that is old enough
to go. A registered group that has never read a log holds all of it: deregister what is gone for
good.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.resources import files
from itertools import islice
from typing import Any, NamedTuple

import redis
import structlog

from consumers import metrics
from consumers.chores.election import Election
from consumers.delivery.group_states import group_states
from consumers.faults import is_of_key, is_outage
from streams.discovery import COUNT, START, scan_streams
from streams.discovery import tenants as all_tenants
from streams.keys import Keys
from streams.wire import Command, as_bytes, ask, checked, round_trip

_LOG = structlog.get_logger(__name__)

HISTORY_GROUP = "rows"
"""The group whose acknowledgement says that the history holds an entry."""
INTERVAL_SECONDS = 60.0
ALIVE_SECONDS = 30.0
"""A consumer that used a log this recently counts as alive."""
AT_ONCE = 100
"""Logs in one round trip."""
TRIM_AT_ONCE = 10_000
"""Entries that one command removes at most, about; others are served in between."""
SCAN_CALLS = 50
"""SCANs in one slice of the work in the background."""


class ConsumersAlive(Exception):
    """The group is still consumed: stop its consumers, or insist."""


class Trimmed(NamedTuple):
    """What trimming did to one tenant's log."""

    tenant: str
    trimmed: int
    """Entries that went."""
    left: int
    held_by: tuple[str, ...]
    """Groups that hold back entries old enough to go; none: what is left is too young, or last."""


class GroupReport(NamedTuple):
    """A registered group, over all logs."""

    group: str
    streams: int
    """Logs on which it exists."""
    pending: int
    consumers_alive: int
    holds_back: int
    """Logs in which it keeps entries that are old enough to go, as a dry run found."""


def trim(
    client: redis.Redis,
    keys: Keys,
    keep_seconds: float,
    tenants: Iterable[str] | None = None,
    *,
    dry_run: bool = False,
) -> Iterator[Trimmed]:
    """Trim the logs of these tenants, or all, as far as is safe; a tenant without one is left out.

    A dry run only says what holds each log back.

    Raises:
        redis.RedisError: the server is away; what it had trimmed was safe to go.
    """
    remaining = iter(all_tenants(client, keys) if tenants is None else tenants)
    while some := list(islice(remaining, AT_ONCE)):
        yield from _trim_some(client, keys, keep_seconds, some, 0 if dry_run else TRIM_AT_ONCE)


def _trim_some(
    client: redis.Redis, keys: Keys, keep_seconds: float, tenants: Sequence[str], at_once: int
) -> Iterator[Trimmed]:
    script = files("consumers.chores").joinpath("trim.lua").read_text(encoding="utf-8")
    # Loaded anew each time: a restart or a failover forgets scripts.
    digest = ask(client, "SCRIPT", "LOAD", script)
    args = (HISTORY_GROUP, int(keep_seconds * 1000), at_once)
    gone = dict.fromkeys(tenants, 0)
    waiting = list(gone)
    while waiting:
        commands: list[Command] = [
            ("EVALSHA", digest, 2, keys.stream(tenant), keys.groups(), *args) for tenant in waiting
        ]
        more = []
        for tenant, reply in zip(waiting, round_trip(client, commands), strict=True):
            if is_of_key(reply):
                _LOG.error("stream_not_trimmed", tenant=tenant, error=str(reply))
                continue
            if not checked([reply])[0]:
                continue
            gone[tenant] += reply[0]
            metrics.TRIMMED.inc(reply[0])
            if reply[1]:
                more.append(tenant)
            else:
                holders = tuple(_text(name) for name in reply[3:])
                yield Trimmed(tenant, gone[tenant], reply[2], holders)
        waiting = more


def registered(client: redis.Redis, keys: Keys) -> list[str]:
    """Give the registered groups."""
    return sorted(_text(name) for name in ask(client, "SMEMBERS", keys.groups()))


def deregister(
    client: redis.Redis, group: str, *, force: bool = False, keys: Keys | None = None
) -> int:
    """Forget a group: destroy it on every log; give on how many it stood.

    Where it is cut short it is still registered, and doing it again finishes it.

    Raises:
        ConsumersAlive: it is still consumed, and its consumers would register it again.
    """
    keys = keys or Keys()
    logs = [keys.stream(tenant) for tenant in all_tenants(client, keys)]
    alive = 0 if force else _alive(client, keys, group, logs)
    if alive:
        raise ConsumersAlive(f"group {group} has {alive} consumers alive: stop them first")
    destroyed = 0
    for at in range(0, len(logs), AT_ONCE):
        commands: list[Command] = [
            ("XGROUP", "DESTROY", log, group) for log in logs[at : at + AT_ONCE]
        ]
        replies = round_trip(client, commands)
        destroyed += sum(reply for reply in replies if isinstance(reply, int))
    ask(client, "SREM", keys.groups(), group)
    ask(client, "DEL", keys.ready(group), keys.leased(group), keys.stale(group))
    _LOG.warning("group_deregistered", group=group, streams=destroyed)
    return destroyed


def group_reports(client: redis.Redis, keys: Keys, held: Sequence[Trimmed]) -> list[GroupReport]:
    """Describe the registered groups; `held` is what trimming has just said."""
    groups = registered(client, keys)
    logs = [keys.stream(tenant) for tenant in all_tenants(client, keys)]
    streams, pending = dict.fromkeys(groups, 0), dict.fromkeys(groups, 0)
    for at in range(0, len(logs), AT_ONCE):
        for states in group_states(client, list(map(as_bytes, logs[at : at + AT_ONCE]))):
            for state in states:
                if state.name in streams:
                    streams[state.name] += 1
                    pending[state.name] += state.pending
    return [
        GroupReport(
            group,
            streams[group],
            pending[group],
            _alive(client, keys, group, logs),
            sum(group in one.held_by for one in held),
        )
        for group in groups
    ]


class Retention:
    """One consumer's part in retention: trimming all logs and dropping old history, while elected.

    A pass over all logs is done in slices, one a `run`, so that consuming goes on between them.

    Args:
        keep_seconds: the age under which every entry stays.
        drop_history: drops the history that has grown too old; None keeps all.
    """

    def __init__(
        self,
        client: redis.Redis,
        consumer: str,
        *,
        keep_seconds: float,
        drop_history: Callable[[], object] | None = None,
        keys: Keys | None = None,
        interval_seconds: float = INTERVAL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._keep_seconds = keep_seconds
        self._drop_history = drop_history
        self._keys = keys or Keys()
        self._election = Election(client, self._keys.retention(), consumer, 3 * interval_seconds)
        self._interval = interval_seconds
        self._clock = clock
        self._next = float("-inf")
        self._start_pass()

    def due(self) -> bool:
        """Whether it is time to go on."""
        return self._clock() >= self._next

    def run(self) -> None:
        """Do one slice, if this consumer is the elected one; the last drops old history too.

        Raises:
            redis.RedisError: the server is away; the next run goes on.
        """
        self._next = self._clock() + self._interval
        if not self._election.hold():
            self._start_pass()
            metrics.HELD_BACK.clear()
            return
        self._slice()
        if self._cursor != START:
            self._next = self._clock()
            return
        self._report()
        self._start_pass()
        self._drop()

    def _start_pass(self) -> None:
        self._cursor, self._held = START, dict[str, set[str]]()

    def _slice(self) -> None:
        for _ in range(SCAN_CALLS):
            self._cursor, logs = scan_streams(self._client, self._cursor)
            names = [self._keys.tenant_of(_text(log)) for log in logs]
            for one in trim(self._client, self._keys, self._keep_seconds, names):
                for group in one.held_by:
                    # A SCAN may give a log twice.
                    self._held.setdefault(group, set()).add(one.tenant)
            if self._cursor == START:
                return

    def _report(self) -> None:
        metrics.HELD_BACK.clear()
        for group, tenants in self._held.items():
            metrics.HELD_BACK.labels(group).set(len(tenants))

    def _drop(self) -> None:
        if self._drop_history is None:
            return
        try:
            self._drop_history()
        except Exception as error:
            if not is_outage(error):
                raise
            _LOG.warning("history_not_dropped", error=" ".join(str(error).split()))


def _alive(client: redis.Redis, keys: Keys, group: str, logs: Sequence[str]) -> int:
    """Count consumers that used a log lately, or whose heartbeat stands."""
    names = set[bytes]()
    for at in range(0, len(logs), AT_ONCE):
        some: list[Command] = [
            ("XINFO", "CONSUMERS", log, group) for log in logs[at : at + AT_ONCE]
        ]
        for reply in round_trip(client, some):
            rows: Any = () if isinstance(reply, redis.ResponseError) else reply
            for row in rows:
                facts = dict(zip(row[::2], row[1::2], strict=True))
                if facts[b"idle"] < ALIVE_SECONDS * 1000:
                    names.add(facts[b"name"])
    prefix = keys.consumer(group, "")
    found = client.scan_iter(match=f"{prefix}*", count=COUNT)
    return len(names | {bytes(name).removeprefix(prefix.encode()) for name in found})


def _text(raw: bytes) -> str:
    return raw.decode(errors="surrogateescape")

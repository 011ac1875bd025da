"""Lag: the entries of each stream that each group has not settled, and the age of the oldest one.

Entries *waiting* were never delivered to the group; *pending* ones were delivered and not
acknowledged. Alerts should use the age: the number waiting may be unknown after a trim. Used by
`consumers.chores` and `ops`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import redis

from consumers.delivery import group_commands
from consumers.delivery.group_states import GroupState, group_states, served_group_states
from consumers.round_trips import AT_ONCE, round_trips, server_ms
from streams import discovery
from streams.cluster import keys_of
from streams.entry_ids import of_reply, range_after
from streams.keys import Keys
from streams.wire import Command, as_bytes

BEHIND_SECONDS = 5.0
"""The age of its oldest unsettled entry from which a tenant is behind."""


class Unsettled(NamedTuple):
    """The unsettled entries of one group on one stream; there is at least one."""

    waiting: int | None
    """Entries never delivered, at least one; None if the server does not know the number."""
    pending: int
    oldest_ms: int
    """The oldest such entry's time, in milliseconds since 1970."""


class Lag(NamedTuple):
    """The lag of one group in one tenant's stream."""

    tenant: str
    group: str
    waiting: int | None
    """Entries never delivered; None if the server does not know the number."""
    pending: int
    oldest_age_seconds: float
    """Age of the oldest unsettled entry; 0 if all are settled."""


def lag(client: redis.Redis, groups: Sequence[str], keys: Keys | None = None) -> Iterator[Lag]:
    """Yield the lag of each of these groups for every tenant; it scans the keyspace.

    Raises:
        redis.RedisError: Redis is unavailable or refuses the command.
    """
    keys = keys or keys_of(client)
    return lag_of(client, discovery.tenants(client, keys), groups, keys)


def lag_of(
    client: redis.Redis,
    tenants: Sequence[str],
    groups: Sequence[str],
    keys: Keys,
    *,
    partial: bool = False,
) -> Iterator[Lag]:
    """Yield the lag of each of these groups for these tenants.

    A tenant without a stream, or with an empty one, is left out; with `partial`, so are those of a
    lost node of a cluster. It takes a few round trips for each `AT_ONCE` tenants, however many of
    them have unsettled entries.

    Raises:
        redis.RedisError: Redis is unavailable or refuses the command.
    """
    for tenant, group, left, now in _left(client, tenants, groups, keys, partial=partial):
        if left is not None:
            age = max(0.0, (now - left.oldest_ms) / 1000)
            yield Lag(tenant, group, left.waiting, left.pending, age)
        else:
            yield Lag(tenant, group, 0, 0, 0.0)


def oldest_of(
    client: redis.Redis, tenants: Sequence[str], groups: Sequence[str], keys: Keys
) -> dict[str, tuple[int, float]]:
    """Return the time in milliseconds and the age in seconds of each tenant's oldest entry.

    It is the oldest one that one of these groups has not settled. Tenants without one, and those of
    a lost node of a cluster, are left out. The cost is that of `lag_of`.

    Raises:
        redis.RedisError: Redis is unavailable or refuses the command.
    """
    oldest: dict[str, tuple[int, float]] = {}
    for tenant, _, left, now in _left(client, tenants, groups, keys, partial=True):
        if left is not None:
            found = (left.oldest_ms, max(0.0, (now - left.oldest_ms) / 1000))
            oldest[tenant] = min(oldest.get(tenant, found), found)
    return oldest


def _left(
    client: redis.Redis,
    tenants: Sequence[str],
    groups: Sequence[str],
    keys: Keys,
    *,
    partial: bool,
) -> Iterator[tuple[str, str, Unsettled | None, int]]:
    """Yield tenants, groups, what is not settled, and the server's time in milliseconds."""
    for at in range(0, len(tenants), AT_ONCE):
        names = {as_bytes(keys.stream(tenant)): tenant for tenant in tenants[at : at + AT_ONCE]}
        known = [
            (names[stream], group, stream, {state.name: state for state in states})
            for stream, states in _states(client, list(names), partial=partial)
            for group in groups
        ]
        now = server_ms(client)
        places = [(stream, states.get(group)) for _, group, stream, states in known]
        found = unsettled(client, places, partial=partial)
        for (tenant, group, _, states), left in zip(known, found, strict=True):
            if left is not None or states:
                yield tenant, group, left, now


def _states(
    client: redis.Redis, streams: Sequence[bytes], *, partial: bool
) -> Iterable[tuple[bytes, list[GroupState]]]:
    if partial:
        return served_group_states(client, streams).items()
    return zip(streams, group_states(client, streams), strict=True)


def unsettled(
    client: redis.Redis,
    places: Sequence[tuple[bytes, GroupState | None]],
    *,
    partial: bool = False,
) -> list[Unsettled | None]:
    """Return the unsettled entries of each group on a stream; None if all are settled.

    `places` are pairs of a stream's key and the state of a group of that stream. None as the state
    stands for a group that does not exist there yet: all entries are waiting. With `partial`,
    streams of a lost node of a cluster are left out as if all were settled.

    Raises:
        redis.ConnectionError, redis.TimeoutError: Redis is unavailable.
    """
    questions = [_commands(stream, state) for stream, state in places]
    commands = (command for asked in questions for command in asked)
    replies = iter(round_trips(client, commands, partial=partial))
    return [
        _read(state, *(next(replies) for _ in asked))
        for (_, state), asked in zip(places, questions, strict=True)
    ]


def _commands(stream: bytes, state: GroupState | None) -> list[Command]:
    """Build the commands for the first waiting entry, and for the first pending or the length."""
    if state is None:
        return [("XRANGE", stream, "-", "+", "COUNT", 1), ("XLEN", stream)]
    waiting = ("XRANGE", stream, *range_after(state.last_delivered), "COUNT", 1)
    if not state.pending:
        return [waiting]
    return [waiting, group_commands.pending_summary(stream, state.name)]


def _read(state: GroupState | None, *replies: Any) -> Unsettled | None:
    """Return the unsettled entries; the stream or the group may have been deleted meanwhile."""
    first, *more = (None if isinstance(each, redis.RedisError) else each for each in replies)
    other = more[0] if more else None
    count, summary = (other, None) if state is None else (state.lag, other)
    pending, oldest = summary[:2] if summary else (0, None)
    entries = [entry[0] for entry in first or ()] + ([oldest] if pending else [])
    if not entries:
        return None
    # One entry may have been appended since the state was read.
    waiting = (None if count is None else max(count, 1)) if first else 0
    return Unsettled(waiting, pending, min(of_reply(entry).ms for entry in entries))

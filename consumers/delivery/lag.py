"""Lag: what each group has not settled of each log, and how old the oldest of it is.

Entries *waiting* are those never delivered, *pending* those delivered and not acknowledged. The age
is the figure to alarm on: the number waiting can be unknown after trims. Whoever shows lag (the
command, the doctor, the console, samples, metrics) has it from here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import redis

from consumers.delivery.group_states import GroupState, group_states
from consumers.round_trips import AT_ONCE, round_trips, server_ms
from streams import discovery
from streams.entry_ids import of_reply
from streams.keys import Keys
from streams.wire import Command, as_bytes


class Unsettled(NamedTuple):
    """What a group has not settled of a log, at least one entry."""

    waiting: int | None
    """Entries never delivered; None where the server cannot tell how many, but that there are."""
    pending: int
    oldest_ms: int
    """The oldest such entry's time, in milliseconds since 1970."""


class Lag(NamedTuple):
    """How one group stands in one tenant's log."""

    tenant: str
    group: str
    waiting: int | None
    """Entries never delivered; None where the server cannot tell."""
    pending: int
    oldest_age_seconds: float
    """Age of the oldest entry that is not settled; 0 where all are."""


def lag(client: redis.Redis, groups: Sequence[str], keys: Keys | None = None) -> Iterator[Lag]:
    """Give the lag of each of these groups for each tenant."""
    keys = keys or Keys()
    return lag_of(client, discovery.tenants(client, keys), groups, keys)


def lag_of(
    client: redis.Redis, tenants: Sequence[str], groups: Sequence[str], keys: Keys
) -> Iterator[Lag]:
    """Give the same for these tenants; one without a log, or with an empty one, is left out.

    A few round trips for each `AT_ONCE` tenants, however many of them have something to do.
    """
    for at in range(0, len(tenants), AT_ONCE):
        some = tenants[at : at + AT_ONCE]
        logs = [as_bytes(keys.stream(tenant)) for tenant in some]
        known = [
            (tenant, group, log, {state.name: state for state in states})
            for tenant, log, states in zip(some, logs, group_states(client, logs), strict=True)
            for group in groups
        ]
        now = server_ms(client)
        found = unsettled(client, [(log, states.get(group)) for _, group, log, states in known])
        for (tenant, group, _, states), left in zip(known, found, strict=True):
            if left is not None:
                age = max(0.0, (now - left.oldest_ms) / 1000)
                yield Lag(tenant, group, left.waiting, left.pending, age)
            elif states:
                yield Lag(tenant, group, 0, 0, 0.0)


def unsettled(
    client: redis.Redis, places: Sequence[tuple[bytes, GroupState | None]]
) -> list[Unsettled | None]:
    """Give what a group that stands there has not settled of a log; None where that is nothing.

    A group that has yet to be made on the log has everything before it.

    Raises:
        redis.ConnectionError, redis.TimeoutError: nothing is known.
    """
    questions = [_questions(log, state) for log, state in places]
    replies = iter(round_trips(client, (command for asked in questions for command in asked)))
    return [
        _read(state, *(next(replies) for _ in asked))
        for (_, state), asked in zip(places, questions, strict=True)
    ]


def _questions(log: bytes, state: GroupState | None) -> list[Command]:
    """Ask for the first undelivered entry, and for all of them or the first pending one."""
    if state is None:
        return [("XRANGE", log, "-", "+", "COUNT", 1), ("XLEN", log)]
    undelivered = ("XRANGE", log, f"({state.last_delivered}", "+", "COUNT", 1)
    return [undelivered, ("XPENDING", log, state.name)] if state.pending else [undelivered]


def _read(state: GroupState | None, *replies: Any) -> Unsettled | None:
    """Read the replies; the log or the group may have gone away meanwhile."""
    first, *more = (None if isinstance(each, redis.RedisError) else each for each in replies)
    other = more[0] if more else None
    count, summary = (other, None) if state is None else (state.lag, other)
    pending, oldest = summary[:2] if summary else (0, None)
    entries = [entry[0] for entry in first or ()] + ([oldest] if pending else [])
    if not entries:
        return None
    # One may have been appended since the group was looked at.
    waiting = (None if count is None else max(count, 1)) if first else 0
    return Unsettled(waiting, pending, min(of_reply(entry).ms for entry in entries))

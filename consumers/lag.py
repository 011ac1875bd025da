"""Lag: how far each group is behind, and how old the oldest entry is that it has not settled.

Entries waiting are those never delivered, pending those delivered and not acknowledged. The age is
the figure to alarm on: the counts can be unknown after trims.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import redis

from streams.discovery import tenants
from streams.entry_ids import EntryId, of_reply
from streams.keys import Keys
from streams.wire import ask, checked, round_trip

AT_ONCE = 500
"""Logs asked about in one round trip."""


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
    names = tenants(client, keys)
    for at in range(0, len(names), AT_ONCE):
        some = names[at : at + AT_ONCE]
        replies = round_trip(client, [("XINFO", "GROUPS", keys.stream(name)) for name in some])
        for tenant, reply in zip(some, replies, strict=True):
            if not isinstance(reply, redis.ResponseError):  # the log went away meanwhile
                yield from _of_tenant(client, keys.stream(tenant), tenant, groups, reply)


def _of_tenant(
    client: redis.Redis, stream: str, tenant: str, groups: Sequence[str], rows: Sequence[Any]
) -> Iterator[Lag]:
    known = {}
    for row in rows:
        facts = dict(zip(row[::2], row[1::2], strict=True))
        known[facts[b"name"].decode()] = facts
    for group in groups:
        if group not in known:  # a group that has never read has everything before it
            length = ask(client, "XLEN", stream)
            yield Lag(tenant, group, length, 0, _age(client, stream, None, b"0-0"))
            continue
        facts = known[group]
        behind = facts.get(b"lag")
        yield Lag(
            tenant,
            group,
            None if behind is None else int(behind),
            int(facts[b"pending"]),
            _age(client, stream, group, facts[b"last-delivered-id"]),
        )


def _age(client: redis.Redis, stream: str, group: str | None, delivered: bytes) -> float:
    """Give the age in seconds of the oldest pending or undelivered entry."""
    commands: list[tuple[str | bytes | int, ...]] = [
        ("XRANGE", stream, b"(" + delivered, "+", "COUNT", 1)
    ]
    if group is not None:
        commands.append(("XPENDING", stream, group))
    replies = checked(round_trip(client, commands))
    candidates: list[EntryId] = [of_reply(entry[0]) for entry in replies[0]]
    if group is not None and replies[1][1] is not None:
        candidates.append(of_reply(replies[1][1]))
    if not candidates:
        return 0.0
    return max(0.0, time.time() - min(candidates).ms / 1000)

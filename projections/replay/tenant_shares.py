"""Shares of the tenants, one for each of several processes that replay or verify together.

A share is a range of tenants in the order of their names, so that a process reads and sorts no
events of other shares. An interrupted replay has its shares in its checkpoint. The events of one
tenant are never divided. `ops.tasks.replay` divides the tenants; `events.sources` reads the events
of a share. Used by `ops.tasks.replay`, `projections.replay.checkpoint`,
`projections.replay.events.sources` and `projections.replay.served`.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

import psycopg
import redis

from sql import queries
from streams.cluster import keys_of
from streams.discovery import tenants
from streams.entries import is_tenant
from streams.keys import Keys
from streams.wire import checked, round_trip

_QUERIES = queries("rebuild")
LENGTHS_AT_ONCE = 1_000
"""Streams whose lengths are read in one round trip."""


class Share(NamedTuple):
    """Tenants from `first` up to, but not including, `end`, in the order of their bytes."""

    first: str | None = None
    """None for no lower bound."""
    end: str | None = None
    """None for no upper bound."""

    def holds(self, tenant: str) -> bool:
        """Return True if the tenant belongs to the share."""
        return (self.first or "") <= tenant and (self.end is None or tenant < self.end)


ALL = Share()


def events_by_tenant(
    client: redis.Redis, connection: psycopg.Connection, keys: Keys | None = None
) -> dict[str, int]:
    """Count the events of each tenant: in the history, or in its stream if that has more.

    Raises:
        redis.RedisError, psycopg.Error: a server is away.
    """
    keys = keys or keys_of(client)
    counts: dict[str, int] = dict(connection.execute(_QUERIES["events_by_tenant"]).fetchall())
    names = [name for name in tenants(client, keys) if is_tenant(name)]
    for start in range(0, len(names), LENGTHS_AT_ONCE):
        some = names[start : start + LENGTHS_AT_ONCE]
        lengths = checked(round_trip(client, [("XLEN", keys.stream(name)) for name in some]))
        for name, length in zip(some, lengths, strict=True):
            counts[name] = max(length, counts.get(name, 0))
    return counts


def divided(counts: Mapping[str, int], most: int) -> list[Share]:
    """Divide tenants into at most `most` shares with about the same number of events each.

    `counts` are the events by tenant.
    """
    bounds: list[str] = []
    left, taken = sum(counts.values()), 0
    for tenant in sorted(counts):
        # A share ends once it has its part of the events that were left when it began.
        if len(bounds) < most - 1 and taken and taken >= left / (most - len(bounds)):
            bounds.append(tenant)
            left, taken = left - taken, 0
        taken += counts[tenant]
    return [Share(first, end) for first, end in pairwise([None, *bounds, None])]

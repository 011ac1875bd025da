"""Shares: tenants divided among several processes that rebuild or verify at the same time.

A share is a range of tenants, so that a walk reads and sorts no more than its own, and an
interrupted replay finds the same shares again. One tenant is never divided.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

import psycopg
import redis

from sql import queries
from streams.discovery import tenants
from streams.entries import is_tenant
from streams.keys import Keys
from streams.wire import checked, round_trip

_QUERIES = queries("rebuild")
LENGTHS_AT_ONCE = 1_000
"""Streams whose lengths are asked for in one round trip."""


class Share(NamedTuple):
    """Tenants from `first` up to, but not including, `end`, in the order of their bytes."""

    first: str | None = None
    """None: from the beginning."""
    end: str | None = None
    """None: to the end."""

    def holds(self, tenant: str) -> bool:
        """Return True if the tenant belongs to the share."""
        return (self.first or "") <= tenant and (self.end is None or tenant < self.end)


ALL = Share()


def events_by_tenant(
    client: redis.Redis, connection: psycopg.Connection, keys: Keys | None = None
) -> dict[str, int]:
    """Count the events of each tenant: in the history, or in its log where that has more.

    Raises:
        redis.RedisError, psycopg.Error: a server is away.
    """
    keys = keys or Keys()
    counts: dict[str, int] = dict(connection.execute(_QUERIES["events_by_tenant"]).fetchall())
    names = [name for name in tenants(client, keys) if is_tenant(name)]
    for at in range(0, len(names), LENGTHS_AT_ONCE):
        some = names[at : at + LENGTHS_AT_ONCE]
        lengths = checked(round_trip(client, [("XLEN", keys.stream(name)) for name in some]))
        for name, length in zip(some, lengths, strict=True):
            counts[name] = max(length, counts.get(name, 0))
    return counts


def divided(counts: Mapping[str, int], most: int) -> list[Share]:
    """Divide tenants into shares of about as many events each, `most` of them at most."""
    bounds: list[str] = []
    left, whole = sum(counts.values()), 0
    for tenant in sorted(counts):
        # A share is full once it has its part of what was left when it began.
        if len(bounds) < most - 1 and whole and whole >= left / (most - len(bounds)):
            bounds.append(tenant)
            left, whole = left - whole, 0
        whole += counts[tenant]
    edges = [None, *bounds, None]
    return [Share(first, end) for first, end in pairwise(edges)]

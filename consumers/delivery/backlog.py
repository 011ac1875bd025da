"""The backlog of each group over all streams, for scaling: right with no consumer running.

Unlike the figures that the elected consumer publishes, it depends on nothing that consumers do: it
scans the streams. A stream without the group counts with all its entries, and those of a lost node
of a cluster are left out. Used by the API, through `ops.operator_view`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import redis

from consumers.delivery.group_states import GroupState, served_group_states
from consumers.round_trips import AT_ONCE, round_trips
from streams import discovery
from streams.cluster import keys_of
from streams.entry_ids import EntryId, of_reply, range_after
from streams.keys import Keys
from streams.wire import as_bytes, round_trip

PAGE, PAGES = 100, 10
"""Entries that are counted one by one, in a stream of which the server does not know the lag."""


class Backlog(NamedTuple):
    """The unsettled entries of one group."""

    waiting: int
    """Entries never delivered."""
    pending: int
    """Entries delivered and not acknowledged."""


def backlog(
    client: redis.Redis, groups: Sequence[str], keys: Keys | None = None
) -> Mapping[str, Backlog]:
    """Return the backlog of each of these groups; it scans the keyspace.

    Raises:
        redis.RedisError: Redis is unavailable or refuses the command.
    """
    keys = keys or keys_of(client)
    waiting, pending = Counter[str](), Counter[str]()
    tenants = discovery.tenants(client, keys, skipping=lambda _: None)
    for at in range(0, len(tenants), AT_ONCE):
        streams = [as_bytes(keys.stream(tenant)) for tenant in tenants[at : at + AT_ONCE]]
        unknown = list[tuple[bytes, str, GroupState | None]]()
        for stream, states in served_group_states(client, streams).items():
            known = {state.name: state for state in states}
            for group in groups:
                state = known.get(group)
                pending[group] += 0 if state is None else state.pending
                if state is None or state.lag is None:
                    unknown.append((stream, group, state))
                else:
                    waiting[group] += state.lag
        for (_, group, _), count in zip(unknown, _counted(client, unknown), strict=True):
            waiting[group] += count
    return {group: Backlog(waiting[group], pending[group]) for group in groups}


def _counted(
    client: redis.Redis, places: Sequence[tuple[bytes, str, GroupState | None]]
) -> list[int]:
    """Return the numbers of waiting entries if the server's lag does not have them."""
    lengths = round_trips(client, (("XLEN", stream) for stream, _, _ in places), partial=True)
    return [
        _count(client, stream, state.last_delivered, _number(length)) if state else _number(length)
        for (stream, _, state), length in zip(places, lengths, strict=True)
    ]


def _count(client: redis.Redis, stream: bytes, after: EntryId, length: int) -> int:
    """Count the entries after an id, up to `PAGE` * `PAGES`; beyond that return the length."""
    counted = 0
    for _ in range(PAGES):
        command = ("XRANGE", stream, *range_after(after), "COUNT", PAGE)
        (entries,) = round_trip(client, [command], partial=True)
        if isinstance(entries, redis.RedisError):  # the user may not read entries
            return max(counted, min(length, 1))
        counted += len(entries)
        if len(entries) < PAGE:
            return counted
        after = of_reply(entries[-1][0])
    return max(length, counted)


def _number(reply: Any) -> int:
    """Return the reply as a number; 0 for an error: the key is no stream, or its node is lost."""
    return reply if isinstance(reply, int) else 0

"""The registered consumer groups, and the state of every group of a stream (XINFO GROUPS).

Used by `consumers.chores`, `consumers.dead_letters.requeued`, `consumers.delivery.backlog`,
`consumers.delivery.lag` and `ops`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import redis

from consumers.delivery import group_commands
from consumers.round_trips import round_trips
from streams.appender import GROUPS
from streams.cluster import is_lost
from streams.entry_ids import EntryId, of_reply
from streams.keys import Keys
from streams.wire import as_text, ask


class GroupState(NamedTuple):
    """The state of a group of one stream."""

    name: str
    pending: int
    last_delivered: EntryId
    lag: int | None = None
    """Entries never delivered; None if the server does not know the number."""


def group_states(client: redis.Redis, streams: Sequence[bytes]) -> list[list[GroupState]]:
    """Return the states of all groups of each stream; many streams take few round trips.

    A stream that does not exist has no groups.

    Raises:
        redis.ConnectionError, redis.TimeoutError: Redis is unavailable.
    """
    replies = round_trips(client, map(group_commands.list_groups, streams))
    return list(map(_states, replies))


def served_group_states(
    client: redis.Redis, streams: Sequence[bytes]
) -> dict[bytes, list[GroupState]]:
    """Return what `group_states` does, by stream, without those of lost nodes of a cluster."""
    replies = round_trips(client, map(group_commands.list_groups, streams), partial=True)
    return {
        stream: _states(reply)
        for stream, reply in zip(streams, replies, strict=True)
        if not is_lost(reply)
    }


def registered_groups(client: redis.Redis, keys: Keys) -> list[str]:
    """Return the names of the registered groups, sorted.

    Raises:
        redis.RedisError: Redis is unavailable or refuses the command.
    """
    return sorted(map(as_text, ask(client, "SMEMBERS", keys.groups())))


def known_groups(client: redis.Redis, keys: Keys) -> list[str]:
    """Return the registered groups and those of the built-in projections, sorted.

    Raises:
        redis.RedisError: Redis is unavailable or refuses the command.
    """
    return sorted({*registered_groups(client, keys), *GROUPS})


def _states(reply: Any) -> list[GroupState]:
    return [] if isinstance(reply, redis.ResponseError) else [_group_state(row) for row in reply]


def _group_state(row: Sequence[Any]) -> GroupState:
    facts = dict(zip(row[::2], row[1::2], strict=True))
    return GroupState(
        facts[b"name"].decode(errors="replace"),  # any client may create a group of any name
        int(facts[b"pending"]),
        of_reply(facts[b"last-delivered-id"]),
        facts.get(b"lag"),
    )

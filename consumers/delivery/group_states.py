"""The state of every consumer group of a stream, as the server reports it (XINFO GROUPS).

Used by the lag, the chores and the commands of operators. Commands that change a group are sent by
`consumers.delivery.groups` alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import redis

from streams.entry_ids import EntryId, of_reply
from streams.wire import round_trip


class GroupState(NamedTuple):
    """The state of a group of one stream."""

    name: str
    pending: int
    last_delivered: EntryId
    lag: int | None = None
    """Entries never delivered; None where the server cannot tell."""


def group_states(client: redis.Redis, streams: Sequence[bytes]) -> list[list[GroupState]]:
    """Return the states of all groups of each stream, in one round trip.

    A stream that does not exist has no groups.

    Raises:
        redis.ConnectionError, redis.TimeoutError: Redis is away.
    """
    replies = round_trip(client, [("XINFO", "GROUPS", name) for name in streams])
    return [
        [] if isinstance(reply, redis.ResponseError) else [_group_state(row) for row in reply]
        for reply in replies
    ]


def _group_state(row: Sequence[Any]) -> GroupState:
    facts = dict(zip(row[::2], row[1::2], strict=True))
    return GroupState(
        facts[b"name"].decode(errors="replace"),  # others may name groups as they like
        int(facts[b"pending"]),
        of_reply(facts[b"last-delivered-id"]),
        facts.get(b"lag"),
    )

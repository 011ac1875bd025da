"""The state of entries that were appended again: applied, waiting, or dead letters again.

Used by `ops.tasks.dead_letters.console_facts` and `ops.tasks.dead_letters.view`.
"""

from __future__ import annotations

from typing import NamedTuple

import redis

from consumers.dead_letters.letter import Letter
from consumers.dead_letters.store import DeadLetterStore
from consumers.delivery import group_commands
from consumers.delivery.group_states import group_states
from consumers.round_trips import round_trips
from streams.entry_ids import EntryId
from streams.keys import Keys
from streams.wire import as_bytes, checked


class Requeued(NamedTuple):
    """The state of an entry that was appended again."""

    state: str
    """`dead` once a group has rejected it, `applied` once all groups have settled it otherwise,
    `waiting` until then."""
    letter: Letter | None = None
    """The dead letter, if it is one again."""


def state_of_requeued(
    client: redis.Redis, keys: Keys, store: DeadLetterStore, tenant: str, entry_id: EntryId
) -> Requeued:
    """Return what became of one entry of a tenant's stream.

    Raises:
        redis.RedisError: Redis is unavailable or refuses the command.
    """
    settled = _is_settled(client, as_bytes(keys.stream(tenant)), entry_id)
    # Asked for last: a group writes the dead letter when it settles the entry.
    letter = store.find(tenant, str(entry_id))
    if letter is not None:
        return Requeued("dead", letter)
    return Requeued("applied" if settled else "waiting")


def _is_settled(client: redis.Redis, stream: bytes, entry_id: EntryId) -> bool:
    """Return whether every group of the stream has settled an entry; False without groups."""
    (states,) = group_states(client, [stream])
    if not states or any(state.last_delivered < entry_id for state in states):
        return False
    raw = str(entry_id).encode()
    commands = [group_commands.pending_entry(stream, state.name, raw) for state in states]
    return not any(checked(round_trips(client, commands)))

"""Entries that a consumer group has settled, by tenant; `verify` waits for the others.

Used by `ops.tasks.replay.servers`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import redis

from consumers.delivery.group_states import group_states
from streams.cluster import keys_of
from streams.entry_ids import EntryId, of_reply
from streams.keys import Keys
from streams.wire import checked, round_trip


def settled(
    client: redis.Redis, group: str, tenants: Collection[str], keys: Keys | None = None
) -> Mapping[str, EntryId | None]:
    """Return the entry id up to which a group has settled each tenant's stream.

    None stands for a stream that does not have the group: nothing more of it will be settled.

    Raises:
        redis.RedisError: Redis is unavailable or refuses the command.
    """
    keys = keys or keys_of(client)
    names = [keys.stream(tenant) for tenant in tenants]
    # Read before the pending entries: what is delivered between the two commands then counts as
    # pending, never as settled.
    delivered = [
        next((state.last_delivered for state in states if state.name == group), None)
        for states in group_states(client, [name.encode() for name in names])
    ]
    known = [name for name, last in zip(names, delivered, strict=True) if last is not None]
    replies = checked(round_trip(client, [("XPENDING", name, group) for name in known]))
    oldest = {
        name: of_reply(reply[1]) for name, reply in zip(known, replies, strict=True) if reply[1]
    }
    return {
        tenant: _before(oldest[name]) if name in oldest else last
        for tenant, name, last in zip(tenants, names, delivered, strict=True)
    }


def _before(entry_id: EntryId) -> EntryId:
    """Return the greatest entry id that is smaller."""
    ms, seq = entry_id
    return EntryId(ms, seq - 1) if seq else EntryId(ms - 1, 2**64 - 1)

"""Entries: the event in an entry of a tenant's stream.

An *entry* is what one XADD appends: an entry id and a flat list of field names and values, of which
the field `event` has the event. Consumers, replays and `jobtrail tail` read events through here.
Used by `consumers.dead_letters`, `ops.tasks`, `projections.decoding` and `projections.replay`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from .entry_ids import EntryId
from .events import InvalidEvent
from .keys import TENANT

FIELD = b"event"


def event_bytes(tenant: str, entry_id: EntryId, fields: Sequence[bytes]) -> bytes:
    """Return the bytes of the entry's event, which are not validated yet.

    Raises:
        InvalidEvent: the tenant, the entry id or the fields are not valid.
    """
    if not is_tenant(tenant):
        raise InvalidEvent("invalid_tenant", f"the stream of {tenant!r} belongs to no valid tenant")
    if not entry_id.can_be_stored:
        raise InvalidEvent("invalid_entry_id", f"{entry_id}: a part of the entry id is over 2^63-1")
    raw = field_of(fields)
    if raw is None:
        raise InvalidEvent("no_event_field", "the entry has no field named event")
    return raw


@lru_cache(maxsize=10_000)
def is_tenant(name: str) -> bool:
    """Return whether the name is valid for a tenant."""
    return TENANT.match(name) is not None


def field_of(fields: Sequence[bytes]) -> bytes | None:
    """Return the bytes of the entry's `event` field; None if it has none."""
    if fields[0] == FIELD:
        return fields[1]
    return dict(zip(fields[::2], fields[1::2], strict=True)).get(FIELD)

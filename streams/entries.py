"""Entries: events as they stand in a log.

An *entry* is one decoded XADD: whose log, where in it, what it says, and the bytes that said it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from streams.entry_ids import EntryId
from streams.events import MAX_EVENT_BYTES, Event, InvalidEvent, parse_event
from streams.keys import TENANT, JobKey

FIELD = b"event"


class Entry(NamedTuple):
    """One entry that can be applied."""

    tenant: str
    entry_id: EntryId
    event: Event
    raw: bytes

    @property
    def job(self) -> JobKey:
        """Whom it is about."""
        return JobKey(self.tenant, self.event.kind, self.event.id)

    @property
    def event_id(self) -> str:
        """The producer's id for the event, or else the entry's."""
        return self.event.event_id or str(self.entry_id)


def happened_at(event: Event, entry_id: EntryId) -> datetime:
    """Give when the event happened, in UTC: as it says, or else when the server took it."""
    at = event.at
    if at is None:
        return entry_id.time
    try:
        return at.astimezone(UTC)
    except OverflowError:  # the first or last day there is, seen from another time zone
        return at.replace(tzinfo=UTC)


def decode(
    tenant: str, entry_id: EntryId, fields: Sequence[bytes], max_bytes: int = MAX_EVENT_BYTES
) -> Entry:
    """Read an entry out of its flat list of fields and values.

    Raises:
        InvalidEvent: it can never be applied.
    """
    if not _is_tenant(tenant):
        raise InvalidEvent("invalid_tenant", f"the log of {tenant!r} belongs to no valid tenant")
    if not entry_id.can_be_stored:
        raise InvalidEvent("invalid_entry_id", f"{entry_id}: a part of the entry id is over 2^63-1")
    raw = field_of(fields)
    if raw is None:
        raise InvalidEvent("no_event_field", "the entry has no field named event")
    return Entry(tenant, entry_id, parse_event(raw, max_bytes), raw)


@lru_cache(maxsize=10_000)
def _is_tenant(name: str) -> bool:
    return TENANT.match(name) is not None


def field_of(fields: Sequence[bytes]) -> bytes | None:
    """Give the bytes of the entry's `event` field."""
    if fields[0] == FIELD:
        return fields[1]
    return dict(zip(fields[::2], fields[1::2], strict=True)).get(FIELD)

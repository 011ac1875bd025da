"""Reading a job's history: its events in the order of their entries."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from projections.event_identity import event_id_of
from projections.reading.jobs import Connection, Fetch, Reading
from sql import queries
from streams.entry_ids import EntryId
from streams.keys import JobKey

_QUERIES = queries("reading")


class StoredEvent(NamedTuple):
    """An event of the history; its entry is the earliest where it was appended more than once."""

    entry_ms: int
    entry_seq: int
    identity: str
    type: str
    attempt: int
    at: datetime
    event: str
    """The JSON as it came."""

    @property
    def event_id(self) -> str:
        """The event id as the producer gave it, or else the entry id."""
        return event_id_of(self.identity)

    @property
    def entry_id(self) -> EntryId:
        """Where it stands in the log."""
        return EntryId(self.entry_ms, self.entry_seq)

    @property
    def position(self) -> EventPosition:
        """Where it stands in the history."""
        return EventPosition(self.entry_ms, self.entry_seq, self.identity)


class EventPosition(NamedTuple):
    """A place in a history. The identity is in it because a log begun anew repeats entry ids."""

    entry_ms: int
    entry_seq: int
    identity: str


class EventPage(NamedTuple):
    """Events in order."""

    events: Sequence[StoredEvent]
    next: EventPosition | None
    """After which the history goes on; None: this is its end."""


START = EventPosition(-1, 0, "")
"""Before the first event."""


def read_events(job: JobKey, after: EventPosition, limit: int) -> Reading[EventPage | None]:
    """Give the reading of `limit` events at most after a position; None without such a job."""
    given = {
        **job._asdict(),
        "after_ms": after.entry_ms,
        "after_seq": after.entry_seq,
        "after_event": after.identity,
        "limit": limit + 1,
    }

    async def reading(connection: Connection) -> Fetch[EventPage | None]:
        known = await connection.execute(_QUERIES["job_exists"], given)
        cursor = await connection.execute(_QUERIES["events"], given)

        async def fetch() -> EventPage | None:
            if await known.fetchone() is None:
                return None
            events = [StoredEvent(*row) for row in await cursor.fetchall()]
            more = len(events) > limit
            return EventPage(events[:limit], events[limit - 1].position if more else None)

        return fetch

    return reading

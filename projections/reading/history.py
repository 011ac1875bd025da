"""The history of one job, read page by page in the order of its entries.

The API uses it for `GET …/{id}/history/`, on a connection that sees the rows of one tenant. Used by
`api.jobs.cursor_values`, `api.jobs.endpoint` and `api.jobs.items`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from projections.event_identity import event_id_of
from projections.reading.jobs import Connection, Fetch, PipelinedRead
from sql import queries
from streams.entry_ids import EntryId
from streams.keys import JobKey

_QUERIES = queries("reading")


class HistoryCursor(NamedTuple):
    """The event of a history after which the next page begins.

    It includes the identity, because a stream that was created again repeats entry ids.
    """

    entry_ms: int
    entry_seq: int
    identity: str


class StoredEvent(NamedTuple):
    """An event of the history; its entry is the earliest if it was appended more than once."""

    entry_ms: int
    entry_seq: int
    identity: str
    """The identity of the event within its job (`projections.event_identity`)."""
    type: str
    attempt: int
    at: datetime
    event: str
    """The JSON text as it was appended."""

    @property
    def event_id(self) -> str:
        """The producer's event id, or else the entry id."""
        return event_id_of(self.identity)

    @property
    def entry_id(self) -> EntryId:
        """The id of its entry."""
        return EntryId(self.entry_ms, self.entry_seq)

    @property
    def cursor(self) -> HistoryCursor:
        """The cursor of a page that begins after this event."""
        return HistoryCursor(self.entry_ms, self.entry_seq, self.identity)


class EventPage(NamedTuple):
    """A page of a history."""

    events: Sequence[StoredEvent]
    next: HistoryCursor | None
    """The cursor of the next page; None on the last page."""


START = HistoryCursor(-1, 0, "")
"""The cursor of the first page."""


def read_events(job: JobKey, after: HistoryCursor, limit: int) -> PipelinedRead[EventPage | None]:
    """Return the read of a page of at most `limit` events; its result is None without a job."""
    parameters = {
        **job._asdict(),
        "after_ms": after.entry_ms,
        "after_seq": after.entry_seq,
        "after_event": after.identity,
        "limit": limit + 1,
    }

    async def read(connection: Connection) -> Fetch[EventPage | None]:
        job_exists = await connection.execute(_QUERIES["job_exists"], parameters)
        found = await connection.execute(_QUERIES["events"], parameters)

        async def fetch() -> EventPage | None:
            if await job_exists.fetchone() is None:
                return None
            events = [StoredEvent(*row) for row in await found.fetchall()]
            more = len(events) > limit
            return EventPage(events[:limit], events[limit - 1].cursor if more else None)

        return fetch

    return read

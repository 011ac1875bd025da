"""Rows of the table `job_events`, the history: one row for each distinct event.

The writer of the history, the reading of streams in a replay and benchmarks make rows here. Used by
`projections.history.copy_writer`, `projections.history.writer`,
`projections.replay.events.stream_tail` and `projections.rows.writer`.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import NamedTuple

from projections.decoding import Entry, happened_at
from projections.history.days import day_of, is_day_uncertain
from streams.entry_ids import EntryId

COLUMN_TYPES = (
    "text text text text date int8 int8 text int8 timestamptz text int8 int8 int4".split()
)
"""Types of the columns of the query `copy_events`, in its order."""


class EventRow(NamedTuple):
    """A row of `job_events`, in the order of COPY."""

    tenant: str
    kind: str
    id: str
    event_id: str
    """The event's id, or its other identity (`projections.event_identity`)."""
    day: date
    """The day that determines the partition."""
    entry_ms: int
    entry_seq: int
    type: str
    attempt: int
    at: datetime
    """When it happened."""
    event: str
    """Its JSON, as it was appended."""
    last_ms: int | None = None
    """With `last_seq`, the id of the latest entry of an event that was appended more than once."""
    last_seq: int | None = None
    appends: int = 1
    """The number of its entries; the column is called `landings`."""

    @property
    def entry(self) -> tuple[int, int]:
        """The id of the event's earliest entry."""
        return self.entry_ms, self.entry_seq

    @property
    def day_uncertain(self) -> bool:
        """True if the day may differ between two appends of the event."""
        return is_day_uncertain(self.event_id, EntryId(*self.entry))


def event_row(entry: Entry) -> EventRow:
    """Return the history row for an entry, as if it were the only one of its event."""
    tenant, entry_id, event, raw = entry
    return EventRow(
        tenant,
        event.kind,
        event.id,
        entry.event_id,
        day_of(event.event_id, entry_id),
        entry_id.ms,
        entry_id.seq,
        event.type,
        event.attempt,
        happened_at(event, entry_id),
        raw.decode(),
    )

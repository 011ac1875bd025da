"""The state of a job after some of its events: what its clients could read at that time.

Used by `api.operators.job_details`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from projections.decoding import happened_at
from projections.documents import Documents, write_documents
from projections.fold import fold_all
from projections.reading.explain import IdentifiedEvent
from streams.entry_ids import EntryId
from streams.kinds import Kind


class PastState(NamedTuple):
    """The state after the last of some events."""

    entry_id: EntryId
    """The entry of the last event."""
    type: str
    at: datetime
    state: str
    won: bool
    """True if the last event determines the state."""
    documents: Documents
    """The job's documents in Redis at that time."""


def past_state(kind: Kind, events: Sequence[IdentifiedEvent]) -> PastState | None:
    """Return the state after these events, which may be in any order; None without events."""
    ordered = sorted(events, key=lambda each: each.entry_id)
    state = fold_all(None, [(each.entry_id, each.event) for each in ordered])
    if state is None:
        return None
    entry_id, last, _ = ordered[-1]
    return PastState(
        entry_id,
        last.type,
        happened_at(last, entry_id),
        state.state,
        state.entry_id == entry_id,
        write_documents(kind, state),
    )

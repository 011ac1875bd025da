"""Why the last attempt of a job failed, as operators read it.

An attempt that is retried has no end: the event that the job waits again has the reason. Used by
`api.operators.job_details`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from projections.decoding import DecodedEvent, happened_at
from projections.reading.explain import IdentifiedEvent
from streams.entry_ids import EntryId


class AttemptFailure(NamedTuple):
    """The failure of one attempt."""

    attempt: int
    entry_id: EntryId
    """The entry of the event that reports it."""
    at: datetime
    code: str | None
    text: str | None
    """The text for operators, or else that for users."""


def last_failure(events: Iterable[IdentifiedEvent]) -> AttemptFailure | None:
    """Return the failure of the highest attempt that has failed; None if none has.

    An event that was appended again counts with its first entry only.
    """
    found = filter(None, (_failure(*each[:2]) for each in events if each.repeat_of is None))
    return max(found, key=lambda each: each[:2], default=None)


def _failure(entry_id: EntryId, event: DecodedEvent) -> AttemptFailure | None:
    at = happened_at(event, entry_id)
    if event.type == "failed":
        text = event.operator_detail or event.error
        return AttemptFailure(event.attempt, entry_id, at, event.code, text)
    if event.type == "queued" and event.operator_detail and event.attempt > 1:
        return AttemptFailure(event.attempt - 1, entry_id, at, None, event.operator_detail)
    return None

"""Values in the opaque cursors of lists and histories. Used by `api.jobs.endpoint`.

A forged cursor may hold any JSON array, so every value is checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from api.http.problems import BadRequest
from projections.reading.history import HistoryCursor
from projections.reading.jobs import ListCursor
from streams.keys import JOB_ID

_MAX = 2**63 - 1
"""The greatest integer of PostgreSQL's `bigint`."""


def list_values(cursor: ListCursor) -> list[str | int]:
    """Return the values to put into the cursor of a list."""
    return [cursor.listed_at.isoformat(), cursor.id]


def list_cursor(values: Sequence[str | int]) -> ListCursor:
    """Return the cursor of a list from its values; raise BadRequest if they are not valid."""
    match values:
        case [str(listed_at), str(job_id)] if JOB_ID.match(job_id):
            try:
                at = datetime.fromisoformat(listed_at)
            except ValueError:
                raise BadRequest(parameter="cursor") from None
            if at.utcoffset() is not None:
                return ListCursor(at, job_id)
    raise BadRequest(parameter="cursor")


def history_cursor(values: Sequence[str | int]) -> HistoryCursor:
    """Return the cursor of a history from its values; raise BadRequest if they are not valid."""
    match values:
        case [int(ms), int(seq), str(event_id)] if "\0" not in event_id:
            if 0 <= ms <= _MAX and 0 <= seq <= _MAX:
                return HistoryCursor(ms, seq, event_id)
    raise BadRequest(parameter="cursor")

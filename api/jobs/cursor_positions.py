"""Positions in the cursors of lists and histories. Used by `jobs.endpoint`.

A forged cursor may hold any JSON array, so every value is checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from api.http.problems import BadRequest
from projections.reading.history import EventPosition
from projections.reading.jobs import Position
from streams.keys import JOB_ID

_MAX = 2**63 - 1
"""The greatest integer of PostgreSQL's `bigint`."""


def list_values(position: Position) -> list[str | int]:
    """Return the values to put into the cursor of a list."""
    return [position.listed_at.isoformat(), position.id]


def list_position(values: Sequence[str | int]) -> Position:
    """Return the position in a list; raise BadRequest if the values are not valid."""
    match values:
        case [str(listed_at), str(job_id)] if JOB_ID.match(job_id):
            try:
                at = datetime.fromisoformat(listed_at)
            except ValueError:
                raise BadRequest(parameter="cursor") from None
            if at.utcoffset() is not None:
                return Position(at, job_id)
    raise BadRequest(parameter="cursor")


def history_position(values: Sequence[str | int]) -> EventPosition:
    """Return the position in a history; raise BadRequest if the values are not valid."""
    match values:
        case [int(ms), int(seq), str(event_id)] if "\0" not in event_id:
            if 0 <= ms <= _MAX and 0 <= seq <= _MAX:
                return EventPosition(ms, seq, event_id)
    raise BadRequest(parameter="cursor")

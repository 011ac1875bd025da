"""Rows and events as answers say them. What is JSON in the database goes out as it lies there."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from orjson import Fragment

from projections.reading.history import StoredEvent
from projections.reading.jobs import StoredRow
from streams.events import dump_json, load_json
from streams.kinds import Kind, State


def whole_item(kind: Kind, row: StoredRow) -> dict[str, Any]:
    """Give all of a row, in the words of the kind's progress answers where these have them."""
    shown_id = _id(kind, row.id)
    return {
        kind.id_field: shown_id,
        "id": shown_id,  # one name for every kind
        "job_type": row.job_type,
        "status": row.status,
        # As in progress answers. The row keeps the last one, which tells how far a failed job came.
        "progress": _fragment(row.progress) if row.state == State.PROCESSING else None,
        kind.error_field: row.error,
        **_result(kind, row),
        "code": row.code,
        "labels": Fragment(row.labels),
        "worker": row.worker,
        "attempt": row.attempt,
        "created_at": _text(row.created_at),
        "started_at": row.started_at and _text(row.started_at),
        "updated_at": _text(row.updated_at),
        "ended_at": row.ended_at and _text(row.ended_at),
    }


def listed_item(kind: Kind, row: StoredRow) -> dict[str, Any]:
    """Give a row of a list, which says of a result that it left out how large it is."""
    item = whole_item(kind, row)
    if row.result is None and row.result_bytes is not None:
        item |= {"result_omitted": True, "result_bytes": row.result_bytes}
    return item


def event_item(event: StoredEvent) -> dict[str, Any]:
    """Give an event of a history."""
    return {
        "entry_id": str(event.entry_id),
        "event_id": event.event_id,
        "type": event.type,
        "attempt": event.attempt,
        "at": _text(event.at),
        "event": Fragment(event.event),
    }


def _id(kind: Kind, job_id: str) -> str | Fragment:
    """An id of digits is a number where the number says all of it: 007 is not 7."""
    whole = job_id.isdigit() and (job_id[0] != "0" or job_id == "0")
    return Fragment(job_id) if kind.numeric_id and whole else job_id


def _result(kind: Kind, row: StoredRow) -> dict[str, Any]:
    """Give the result, and beside it the fields that the kind's answers show by themselves."""
    shown: dict[str, Any] = {"result": _fragment(row.result)}
    if kind.result_fields is None:
        return shown
    result = {} if row.result is None else load_json(row.result.encode())
    return shown | {
        # Written here: whole numbers may be larger than what writes the answer takes.
        name: None if result.get(name) is None else Fragment(dump_json(result[name]))
        for name in kind.result_fields
    }


def _fragment(json: str | None) -> Fragment | None:
    return None if json is None else Fragment(json)


def _text(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")

"""Rows and events of the database as items of answers. Used by `api.jobs.endpoint`.

JSON columns are copied into the answer as they are stored, without parsing them.
"""

from __future__ import annotations

from typing import Any

from orjson import Fragment

from api.answers.progress_answer import json_id
from projections.documents import utc_text
from projections.reading.history import StoredEvent
from projections.reading.jobs import StoredRow
from streams.escapes import storable
from streams.events import dump_json, load_json
from streams.kinds import Kind, State

_PRIVATE = "operator_detail"


def job_item(kind: Kind, row: StoredRow) -> dict[str, Any]:
    """Return a row as the answer for one job, with field names as in progress answers."""
    job_id = _json_id(kind, row.id)
    return {
        kind.id_field: job_id,
        "id": job_id,  # the same name for every kind
        "job_type": row.job_type,
        "status": row.status,
        # As in progress answers. The row of an ended job still has its last progress.
        "progress": _fragment(row.progress) if row.state == State.PROCESSING else None,
        kind.error_field: row.error,
        **_result(kind, row),
        "code": row.code,
        "labels": Fragment(row.labels),
        "worker": row.worker,
        "attempt": row.attempt,
        "created_at": utc_text(row.created_at),
        "started_at": row.started_at and utc_text(row.started_at),
        "updated_at": utc_text(row.updated_at),
        "ended_at": row.ended_at and utc_text(row.ended_at),
    }


def list_item(kind: Kind, row: StoredRow) -> dict[str, Any]:
    """Return a row as an item of a list, with the size of a result that the list omits."""
    item = job_item(kind, row)
    if row.result is None and row.result_bytes is not None:
        item |= {"result_omitted": True, "result_bytes": row.result_bytes}
    return item


def event_item(event: StoredEvent) -> dict[str, Any]:
    """Return an event as an item of a history."""
    return {
        "entry_id": str(event.entry_id),
        "event_id": event.event_id,
        "type": event.type,
        "attempt": event.attempt,
        "at": utc_text(event.at),
        "event": Fragment(_public(event.event)),
    }


def _public(event: str) -> str:
    """Return the JSON of an event without the text that only operators may read."""
    if _PRIVATE not in event and "\\u" not in event:  # a key may be written with escapes
        return event
    fields = load_json(storable(event.encode()))
    if not isinstance(fields, dict) or _PRIVATE not in fields:
        return event
    del fields[_PRIVATE]
    return dump_json(fields).decode()


def _json_id(kind: Kind, job_id: str) -> str | Fragment:
    """Return an id as progress answers contain it; as a fragment, because numbers may be large."""
    found = json_id(kind, job_id)
    return found if isinstance(found, str) else Fragment(job_id)


def _result(kind: Kind, row: StoredRow) -> dict[str, Any]:
    """Return the result, and the fields of it that the kind's progress answer contains."""
    fields: dict[str, Any] = {"result": _fragment(row.result)}
    if kind.result_fields is None:
        return fields
    result = {} if row.result is None else load_json(row.result.encode())
    return fields | {
        # Fragments, because orjson does not write integers of more than 64 bits.
        name: None if result.get(name) is None else Fragment(dump_json(result[name]))
        for name in kind.result_fields
    }


def _fragment(json: str | None) -> Fragment | None:
    return None if json is None else Fragment(json)

"""The content of a progress answer, as a pure function of a job's documents and its kind.

Documents may be old, or written by other programs: fields that are not valid are left out, and a
document that is not a JSON object counts as missing. Used by `api.answers.rendered`,
`api.jobs.items`, `api.operators.job_details` and `api.operators.jobs`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from projections.documents import Documents
from streams.events import load_json
from streams.kinds import Kind, State
from streams.progress_display import displayed_step, overall_percent, whole_number

Document = Mapping[str, Any]

_STATUS_FIELDS = ("attempt", "updated_at")
_OMISSION_FIELDS = ("result_omitted", "result_bytes")


def progress_answer(kind: Kind, job_id: str, documents: Documents) -> dict[str, Any] | None:
    """Return the JSON object of a progress answer; None without a valid status document."""
    status = _read(documents.status)
    if status is None:
        return None
    state = _state(kind, status)
    progress = _read(documents.progress) if state is State.PROCESSING else None
    answer: dict[str, Any] = {kind.id_field: json_id(kind, job_id)}
    if kind.progress_prefix is None:
        answer |= {
            "job_type": status.get("job_type"),
            "status": status.get("status"),
            "progress": progress,
        }
    else:
        answer["status"] = status.get("status")
        answer |= _flat_progress(kind, kind.progress_prefix, progress)
    if state is not None and state.ended:
        answer |= _ending(kind, status, state)
    return answer | _picked(status, _STATUS_FIELDS)


def json_id(kind: Kind, job_id: str) -> str | int:
    """Return an id as answers contain it.

    For kinds with numeric ids, an id that converts to a number and back to the same text is a
    number: 7, but "007".
    """
    canonical = job_id.isascii() and job_id.isdigit() and (job_id[0] != "0" or job_id == "0")
    return int(job_id) if kind.numeric_id and canonical else job_id


def _read(raw: bytes | None) -> Document | None:
    """Return a document; None if it is missing or not a JSON object.

    Not read with orjson, which rounds integers of more than 64 bits and refuses NaN.
    """
    if raw is None:
        return None
    try:
        document = load_json(raw)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _state(kind: Kind, status: Document) -> State | None:
    """Return the state; None if the status is not one of the kind's words."""
    word = status.get("status")
    try:
        return kind.state_of(word) if isinstance(word, str) else None
    except ValueError:
        return None


def _picked(document: Document, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: document[name] for name in names if name in document}


def _ending(kind: Kind, status: Document, state: State) -> dict[str, Any]:
    """Return the fields of an ended job: its result if it is done, otherwise its error.

    For compatibility, kinds with a single `result` contain the error field after every end, and
    kinds with result fields contain those after every end.
    """
    done = state is State.DONE
    fields: dict[str, Any]
    if kind.result_fields is None:
        fields = {kind.error_field: status.get(kind.error_field)}
        if done:
            fields["result"] = status.get("result")
    else:
        fields = {name: status.get(name) for name in kind.result_fields}
        if not done:
            fields[kind.error_field] = status.get(kind.error_field)
    return fields | _picked(status, _OMISSION_FIELDS) if done else fields


def _flat_progress(kind: Kind, prefix: str, progress: Document | None) -> dict[str, Any]:
    """Return the progress as fields with the kind's prefix; all null without progress."""
    fields = progress or {}
    step = displayed_step(fields)
    return {
        f"{prefix}progress": None if progress is None else overall_percent(kind, progress),
        f"{prefix}remaining_seconds": whole_number(fields.get("remaining_seconds")),
        f"{prefix}step_index": step.index,
        f"{prefix}step_total": step.total,
        f"{prefix}step_name": step.display,
        f"{prefix}step_percent": step.percent,
    }

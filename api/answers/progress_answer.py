"""Answers: a job's documents as its kind's readers know them. Pure, and driven by the kind alone.

Documents may be of any age and of foreign writers: what is not as it should be is left out, and a
document that is no JSON object counts as absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from projections.documents import Documents
from streams.events import load_json
from streams.kinds import Kind, State
from streams.progress_display import overall_percent, step_shown, whole

Document = Mapping[str, Any]

_BESIDE = ("attempt", "updated_at")
_OMISSION = ("result_omitted", "result_bytes")


def answer(kind: Kind, job_id: str, documents: Documents) -> dict[str, Any] | None:
    """Give what a progress request answers, or None where the status document is not one."""
    status = _read(documents.status)
    if status is None:
        return None
    state = _state(kind, status)
    progress = _read(documents.progress) if state is State.PROCESSING else None
    shown: dict[str, Any] = {kind.id_field: _shown_id(kind, job_id)}
    if kind.progress_prefix is None:
        shown |= {
            "job_type": status.get("job_type"),
            "status": status.get("status"),
            "progress": progress,
        }
    else:
        shown["status"] = status.get("status")
        shown |= _flat_progress(kind, kind.progress_prefix, progress)
    if state is not None and state.ended:
        shown |= _ending(kind, status, state)
    return shown | _picked(status, _BESIDE)


def _read(raw: bytes | None) -> Document | None:
    """Read a document; not by orjson, which rounds whole numbers of over 64 bits, refuses NaN."""
    if raw is None:
        return None
    try:
        document = load_json(raw)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _state(kind: Kind, status: Document) -> State | None:
    """Give the state, or None for a word that the kind does not have: neither work nor an end."""
    word = status.get("status")
    try:
        return kind.state_of(word) if isinstance(word, str) else None
    except ValueError:
        return None


def _shown_id(kind: Kind, job_id: str) -> str | int:
    """An id of digits is a number where the number says all of it: 007 is not 7."""
    whole = job_id.isascii() and job_id.isdigit() and (job_id[0] != "0" or job_id == "0")
    return int(job_id) if kind.numeric_id and whole else job_id


def _picked(document: Document, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: document[name] for name in names if name in document}


def _ending(kind: Kind, status: Document, state: State) -> dict[str, Any]:
    """Give how it ended: the result where it is done, and the reason where it is not.

    Readers of a whole `result` have always been given the error's field at every end, those of
    single result fields these at every end.
    """
    done = state is State.DONE
    shown: dict[str, Any]
    if kind.result_fields is None:
        shown = {kind.error_field: status.get(kind.error_field)}
        if done:
            shown["result"] = status.get("result")
    else:
        shown = {name: status.get(name) for name in kind.result_fields}
        if not done:
            shown[kind.error_field] = status.get(kind.error_field)
    return shown | _picked(status, _OMISSION) if done else shown


def _flat_progress(kind: Kind, prefix: str, progress: Document | None) -> dict[str, Any]:
    told = progress or {}
    step = step_shown(told)
    return {
        f"{prefix}progress": None if progress is None else overall_percent(kind, progress),
        f"{prefix}remaining_seconds": whole(told.get("remaining_seconds")),
        f"{prefix}step_index": step.index,
        f"{prefix}step_total": step.total,
        f"{prefix}step_name": step.display,
        f"{prefix}step_percent": step.percent,
    }

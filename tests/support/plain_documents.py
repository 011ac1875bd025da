"""The documents of a job by simple code, to which the fast writer must be equal byte for byte."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from projections.documents import Documents
from projections.state import AttributedValue, JobState, OmittedResult
from streams.events import dump_json
from streams.kinds import Kind


def plain_documents(kind: Kind, state: JobState, result_cache_bytes: int) -> Documents:
    """Return the expected result of `write_documents`."""
    job_type, started = state.job_type, state.started
    status = {
        "status": kind.words[state.state],
        "job_type": job_type and job_type.value,
        kind.error_field: state.error,
        **_result_fields(kind, state, result_cache_bytes),
        "attempt": state.attempt,
        "updated_at": _text(state.updated_at),
        "created_at": _text(state.created.at),
        "started_at": started and _text(started.at),
        "code": state.code,
        "worker": state.worker,
        "labels": {name: told.value for name, told in state.labels.items()},
        "fold": _positions(state),
    }
    return Documents(dump_json(status), _progress(state))


def _positions(state: JobState) -> dict[str, Any]:
    job_type, started, progress = state.job_type, state.started, state.progress
    return {
        "entry_id": str(state.entry_id),
        "created": str(state.created.entry_id),
        "started": started and str(started.entry_id),
        "job_type": job_type and _position(job_type),
        "labels": {name: _position(told) for name, told in state.labels.items()},
        "progress": progress and str(progress.entry_id),
    }


def _result_fields(kind: Kind, state: JobState, limit: int) -> dict[str, Any]:
    result = state.result
    nothing: dict[str, Any] = dict.fromkeys(kind.result_fields or ("result",))
    if result is None:
        return nothing
    if isinstance(result, OmittedResult):
        return nothing | {"result_omitted": True, "result_bytes": result.bytes}
    shown = (
        {"result": dict(result)}
        if kind.result_fields is None
        else {name: result.get(name) for name in kind.result_fields}
    )
    size = len(dump_json(shown["result"] if kind.result_fields is None else shown))
    if size >= limit:
        return nothing | {"result_omitted": True, "result_bytes": size}
    return shown


def _progress(state: JobState) -> bytes | None:
    progress = state.progress
    if progress is None:
        return None
    names = (
        "step percent step_index step_total step_name step_name_display step_percent"
        " remaining_seconds"
    ).split()
    free = {name: each for name, each in progress.fields.items() if name not in names}
    return dump_json({**free, **{name: progress.fields[name] for name in names}})


def _text(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def _position(told: AttributedValue) -> str:
    return f"{told.attempt}/{told.entry_id}"

"""The two Redis documents of a job, and the way back from them to its state.

`status` says how the job stands, in its kind's words; `progress` how far it is. Readers of any age
parse them as plain JSON. What the fold needs beside that to go on from a document (the positions of
its facts) lies under `fold`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from projections.state import PROGRESS_FIELDS, JobState, Moment, OmittedResult, ProgressState, Told
from streams.entry_ids import EntryId
from streams.events import dump_json, load_json
from streams.kinds import Kind, State

RESULT_CACHE_BYTES = 10_000
"""A result of so many bytes as JSON, or more, is left out of the document."""


class Documents(NamedTuple):
    """What Redis holds of a job; no `progress` where the winning attempt has told of none."""

    status: bytes
    progress: bytes | None


def write_documents(
    kind: Kind, state: JobState, result_cache_bytes: int = RESULT_CACHE_BYTES
) -> Documents:
    """Give the documents of a state; equal states give equal bytes."""
    status = dump_json(_status(kind, state, result_cache_bytes))
    return Documents(status, state.progress and dump_json(progress_fields(state.progress)))


def read_documents(kind: Kind, documents: Documents) -> JobState:
    """Give the state back that the documents were written from.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: they are not documents of this project.
    """
    status = load_json(documents.status)
    return from_positions(
        status["fold"],
        attempt=int(status["attempt"]),
        state=kind.state_of(status["status"]),
        updated_at=datetime.fromisoformat(status["updated_at"]),
        worker=status["worker"],
        result=_read_result(kind, status),
        error=status[kind.error_field],
        code=status["code"],
        created_at=datetime.fromisoformat(status["created_at"]),
        started_at=status["started_at"] and datetime.fromisoformat(status["started_at"]),
        job_type=status["job_type"],
        labels=status["labels"],
        progress=load_json(documents.progress) if documents.progress else None,
    )


def write_positions(state: JobState) -> dict[str, Any]:
    """Give what the fold must know beside the facts: which entries told them."""
    job_type, started, progress = state.job_type, state.started, state.progress
    return {
        "entry_id": str(state.entry_id),
        "created": str(state.created.entry_id),
        "started": started and str(started.entry_id),
        "job_type": job_type and _position(job_type),
        "labels": {name: _position(told) for name, told in state.labels.items()},
        "progress": progress and str(progress.entry_id),
    }


def from_positions(
    positions: Mapping[str, Any],
    *,
    created_at: datetime,
    started_at: datetime | None,
    job_type: str | None,
    labels: Mapping[str, str],
    progress: Mapping[str, Any] | None,
    **facts: Any,
) -> JobState:
    """Put a state together from stored facts and their positions."""
    told = positions["labels"]
    return JobState(
        entry_id=EntryId.parse(positions["entry_id"]),
        created=Moment(EntryId.parse(positions["created"]), created_at),
        started=Moment(EntryId.parse(positions["started"]), started_at) if started_at else None,
        job_type=_told(positions["job_type"], job_type) if job_type is not None else None,
        labels={name: _told(told[name], labels[name]) for name in sorted(labels)},
        progress=read_progress(EntryId.parse(positions["progress"]), progress)
        if progress is not None and positions["progress"]
        else None,
        **facts,
    )


def progress_fields(progress: ProgressState) -> dict[str, Any]:
    """Give the progress document as a mapping; `extra`'s own keys never cover the named ones."""
    return {
        **progress.extra,
        "step": progress.step,
        "percent": progress.percent,
        "step_index": progress.step_index,
        "step_total": progress.step_total,
        "step_name": progress.step,
        "step_name_display": progress.step_name_display,
        "step_percent": progress.step_percent,
        "remaining_seconds": progress.remaining_seconds,
    }


def read_progress(entry_id: EntryId, fields: Mapping[str, Any]) -> ProgressState:
    """Give the progress back that `progress_fields` wrote."""
    return ProgressState(
        entry_id=entry_id,
        step=fields["step"],
        percent=fields["percent"],
        step_index=fields["step_index"],
        step_total=fields["step_total"],
        step_name_display=fields["step_name_display"],
        step_percent=fields["step_percent"],
        remaining_seconds=fields["remaining_seconds"],
        extra={name: value for name, value in fields.items() if name not in PROGRESS_FIELDS},
    )


def _status(kind: Kind, state: JobState, result_cache_bytes: int) -> dict[str, Any]:
    job_type, started = state.job_type, state.started
    return {
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
        "fold": write_positions(state),
    }


def _result_fields(kind: Kind, state: JobState, limit: int) -> dict[str, Any]:
    """Give the result as this kind's documents show it, or its size where it is too large."""
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


def _read_result(kind: Kind, status: Mapping[str, Any]) -> Mapping[str, Any] | OmittedResult | None:
    if status.get("result_omitted"):
        return OmittedResult(status["result_bytes"])
    if kind.result_fields is None:
        result: Mapping[str, Any] | None = status["result"]
        return result
    shown = {name: status[name] for name in kind.result_fields if status[name] is not None}
    return shown if kind.state_of(status["status"]) is State.DONE else None


def _text(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def _position(told: Told) -> str:
    return f"{told.attempt}/{told.entry_id}"


def _told(position: str, value: str) -> Told:
    attempt, _, entry_id = position.partition("/")
    return Told(int(attempt), EntryId.parse(entry_id), value)

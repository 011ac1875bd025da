"""The two Redis documents of a job: written from its state, and read back.

`status` has the state in the words of the job's kind, and `progress` the latest progress. Clients
of any version read them as plain JSON. The object `fold` of the status has the provenances of the
facts. They are needed to fold more events into a state that was read.

Rows (`projections.rows.columns`) store provenances in the same form. Used by `api.answers`,
`api.jobs.items` and `projections`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

import orjson

from projections.progress_fields import stored_document
from projections.state import AttributedValue, JobState, Moment, OmittedResult, ProgressState
from streams.entry_ids import EntryId
from streams.events import compact, dump_json, load_json
from streams.kinds import KINDS, Kind, State

RESULT_CACHE_BYTES = 10_000
"""A result of this size in bytes of JSON, or larger, is left out of the document."""

_NO_RESULT = {
    name: dict.fromkeys(kind.result_fields or ("result",)) for name, kind in KINDS.items()
}
# `%` takes an entry id as one argument.
_ENTRY, _ATTEMPT_AND_ENTRY = "%d-%d", "%d/%d-%d"
_TIMES = ("updated_at", "created_at", "started_at")
_new = tuple.__new__  # builds a named tuple without the cost of its own constructor


class Documents(NamedTuple):
    """The documents of a job; `progress` is None if the winning attempt has no progress."""

    status: bytes
    progress: bytes | None


def write_documents(
    kind: Kind, state: JobState, result_cache_bytes: int = RESULT_CACHE_BYTES
) -> Documents:
    """Return the documents of a state; the same state gives the same bytes.

    `ServedDocuments.matching` compares the bytes: if equal states give different bytes, because
    their keys are in another order, that only costs time.
    """
    progress = state.progress
    written = (
        _dump_status(_status(kind, state, result_cache_bytes)),
        None if progress is None else dump_json(progress.fields),
    )
    return _new(Documents, written)


def read_documents(kind: Kind, documents: Documents) -> JobState:
    """Return the state that the documents hold.

    Of a result, only the displayed fields remain, or its size if it was left out.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: this project did not write the documents.
    """
    status = load_json(documents.status)
    return state_of_facts(
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


def provenance_fields(state: JobState) -> dict[str, Any]:
    """Return the provenances of the facts of a state, as JSON has them.

    Each is an entry id, or `ATTEMPT/ENTRY_ID` for attributed values.
    """
    job_type, labels, started, progress = (
        state.job_type,
        state.labels,
        state.started,
        state.progress,
    )
    return {
        "entry_id": _ENTRY % state.entry_id,
        "created": _ENTRY % state.created.entry_id,
        "started": None if started is None else _ENTRY % started.entry_id,
        "job_type": None if job_type is None else _provenance(job_type),
        "labels": {name: _provenance(label) for name, label in labels.items()}
        if labels
        else labels,
        "progress": None if progress is None else _ENTRY % progress.entry_id,
    }


def state_of_facts(
    positions: Mapping[str, Any],
    *,
    created_at: datetime,
    started_at: datetime | None,
    job_type: str | None,
    labels: Mapping[str, str],
    progress: Mapping[str, Any] | None,
    **facts: Any,
) -> JobState:
    """Return the state of stored facts and their provenances.

    `positions` is what `provenance_fields` returned, and has the name of its column; `facts` are
    the other fields of `JobState`.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: this project did not write the facts.
    """
    of_labels = positions["labels"]
    return JobState(
        entry_id=_entry_id(positions["entry_id"]),
        created=Moment(_entry_id(positions["created"]), created_at),
        started=Moment(_entry_id(positions["started"]), started_at) if started_at else None,
        job_type=_attributed(positions["job_type"], job_type) if job_type is not None else None,
        labels={name: _attributed(of_labels[name], labels[name]) for name in sorted(labels)},
        progress=ProgressState(_entry_id(positions["progress"]), stored_document(progress))
        if progress is not None and positions["progress"]
        else None,
        **facts,
    )


def _status(kind: Kind, state: JobState, result_cache_bytes: int) -> dict[str, Any]:
    job_type, started, labels = state.job_type, state.started, state.labels
    return {
        "status": kind.words[state.state],
        "job_type": None if job_type is None else job_type.value,
        kind.error_field: state.error,
        **_result_fields(kind, state, result_cache_bytes),
        "attempt": state.attempt,
        "updated_at": state.updated_at,
        "created_at": state.created.at,
        "started_at": None if started is None else started.at,
        "code": state.code,
        "worker": state.worker,
        "labels": {name: label.value for name, label in labels.items()} if labels else labels,
        "fold": provenance_fields(state),
    }


def _result_fields(kind: Kind, state: JobState, limit: int) -> dict[str, Any]:
    """Return the result as fields of the status document, or only its size if it is too large."""
    result = state.result
    if result is None:
        return _NO_RESULT[kind.name]
    if isinstance(result, OmittedResult):
        return _omitted(kind, result.bytes)
    if kind.result_fields is None:
        written = dump_json(result)
        # The JSON that was written to measure it is put into the document as it is.
        shown: dict[str, Any] = {"result": orjson.Fragment(written)}
    else:
        shown = {name: result.get(name) for name in kind.result_fields}
        written = dump_json(shown)
    return _omitted(kind, len(written)) if len(written) >= limit else shown


def _omitted(kind: Kind, size: int) -> dict[str, Any]:
    return {**_NO_RESULT[kind.name], "result_omitted": True, "result_bytes": size}


def _dump_status(status: dict[str, Any]) -> bytes:
    try:
        return compact(orjson.dumps(status, option=orjson.OPT_UTC_Z))
    except TypeError:
        # An integer of more than 64 bits in a result that has fields of its own. Any other result
        # is a Fragment, which is written already.
        times = {name: utc_text(status[name]) for name in _TIMES if status[name] is not None}
        return dump_json(status | times)


def _read_result(kind: Kind, status: Mapping[str, Any]) -> Mapping[str, Any] | OmittedResult | None:
    if status.get("result_omitted"):
        return OmittedResult(status["result_bytes"])
    if kind.result_fields is None:
        result: Mapping[str, Any] | None = status["result"]
        return result
    shown = {name: status[name] for name in kind.result_fields if status[name] is not None}
    return shown if kind.state_of(status["status"]) is State.DONE else None


def _entry_id(text: str) -> EntryId:
    """Return an entry id that was written here, in less than half the time of `EntryId.parse`.

    Raises:
        ValueError: the text was not written here.
    """
    ms, seq = text.split("-")
    return _new(EntryId, (int(ms), int(seq)))


def utc_text(at: datetime) -> str:
    """Return a UTC time as JSON has it in documents and answers: RFC 3339, with the zone `Z`."""
    return at.isoformat().replace("+00:00", "Z")


def _provenance(value: AttributedValue) -> str:
    return _ATTEMPT_AND_ENTRY % (value.attempt, *value.entry_id)


def _attributed(provenance: str, value: str) -> AttributedValue:
    attempt, _, entry_id = provenance.partition("/")
    return AttributedValue(int(attempt), _entry_id(entry_id), value)

"""The fold: one pure function from events to a job's state; only it decides what events mean.

The event that wins is the greatest by attempt, then rank, then entry id (among ends of one rank the
earliest). A late event adds what only it knows and takes nothing away.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from projections.decoding import DecodedEvent, Progress, happened_at
from projections.state import PROGRESS_FIELDS, JobState, Moment, ProgressState, Told
from streams.entry_ids import EntryId
from streams.kinds import State

RANKS = {
    "queued": 0,
    "processing": 1,
    "progress": 1,
    "failed": 2,
    "cancelled": 2,
    "done": 3,
}
_WORKING, _FIRST_END = 1, 2
_STATES = {
    name: State.PROCESSING if rank == _WORKING else State(name) for name, rank in RANKS.items()
}
MAX_LABELS = 16


def fold(state: JobState | None, event: DecodedEvent, entry_id: EntryId) -> JobState:
    """Fold one event into a job's state; None is a job of which nothing is known."""
    if state is None:
        return _first(event, entry_id)
    if event.attempt >= state.attempt:
        if _wins(event, entry_id, state):
            state = _won(state, event, entry_id)
        state = _with_attempt_facts(state, event, entry_id)
    return _with_job_facts(state, event, entry_id)


def fold_all(
    state: JobState | None, events: Iterable[tuple[EntryId, DecodedEvent]]
) -> JobState | None:
    """Fold many events of one job.

    The order does not matter, so take the quickest: the oldest up to the first sign of work, which
    settle how it began, then the newest first, which usually settle the rest.
    """
    ascending = sorted(events, key=_entry_id)
    began = 0
    for entry_id, event in ascending:
        state = fold(state, event, entry_id)
        began += 1
        if RANKS[event.type] == _WORKING:
            break
    for entry_id, event in reversed(ascending[began:]):
        state = fold(state, event, entry_id)
    return state


def _entry_id(pair: tuple[EntryId, DecodedEvent]) -> EntryId:
    return pair[0]


def _wins(event: DecodedEvent, entry_id: EntryId, state: JobState) -> bool:
    """Compare an event with the one that has won so far."""
    if event.attempt != state.attempt:
        return event.attempt > state.attempt
    rank, held = RANKS[event.type], RANKS[state.state]
    if rank != held:
        return rank > held
    return entry_id < state.entry_id if rank >= _FIRST_END else entry_id > state.entry_id


def _moment(event: DecodedEvent, entry_id: EntryId) -> Moment:
    return Moment(entry_id, happened_at(event, entry_id))


def _first(event: DecodedEvent, entry_id: EntryId) -> JobState:
    moment = _moment(event, entry_id)
    told = event.job_type
    return JobState(
        attempt=event.attempt,
        state=_STATES[event.type],
        entry_id=entry_id,
        updated_at=moment.at,
        worker=event.worker,
        result=event.result or {} if event.type == "done" else None,
        error=_error(event),
        code=event.code if event.type == "failed" else None,
        created=moment,
        started=moment if RANKS[event.type] == _WORKING else None,
        job_type=None if told is None else Told(event.attempt, entry_id, told),
        labels=_merged_labels({}, event, entry_id) if event.labels else {},
        progress=_progress(event, entry_id) if event.type == "progress" else None,
    )


def _won(state: JobState, event: DecodedEvent, entry_id: EntryId) -> JobState:
    """Take the winner's words; a higher attempt leaves the lower one's progress behind."""
    same = event.attempt == state.attempt
    return JobState(
        attempt=event.attempt,
        state=_STATES[event.type],
        entry_id=entry_id,
        updated_at=happened_at(event, entry_id),
        worker=event.worker,
        result=event.result or {} if event.type == "done" else None,
        error=_error(event),
        code=event.code if event.type == "failed" else None,
        created=state.created,
        started=state.started if same else None,
        job_type=state.job_type,
        labels=state.labels,
        progress=state.progress if same else None,
    )


def _with_attempt_facts(state: JobState, event: DecodedEvent, entry_id: EntryId) -> JobState:
    """Add what an event of the winning attempt knows of it."""
    if RANKS[event.type] != _WORKING:
        return state
    if state.started is None or entry_id < state.started.entry_id:
        state = state._replace(started=_moment(event, entry_id))
    if event.type == "progress" and (state.progress is None or entry_id > state.progress.entry_id):
        state = state._replace(progress=_progress(event, entry_id))
    return state


def _with_job_facts(state: JobState, event: DecodedEvent, entry_id: EntryId) -> JobState:
    """Add what an event of any attempt knows of the job."""
    if entry_id < state.created.entry_id:
        state = state._replace(created=_moment(event, entry_id))
    if event.job_type is not None and _later(state.job_type, event.attempt, entry_id):
        state = state._replace(job_type=Told(event.attempt, entry_id, event.job_type))
    if event.labels:
        labels = _merged_labels(state.labels, event, entry_id)
        if labels != state.labels:
            state = state._replace(labels=labels)
    return state


def _later(told: Told | None, attempt: int, entry_id: EntryId) -> bool:
    return told is None or (attempt, entry_id) > (told.attempt, told.entry_id)


def _merged_labels(
    labels: Mapping[str, Told], event: DecodedEvent, entry_id: EntryId
) -> Mapping[str, Told]:
    """Join labels name by name, and keep the first by name: bounded, whatever the order."""
    merged = dict(labels)
    for name, value in (event.labels or {}).items():
        if _later(merged.get(name), event.attempt, entry_id):
            merged[name] = Told(event.attempt, entry_id, value)
    return {name: merged[name] for name in sorted(merged)[:MAX_LABELS]}


def _error(event: DecodedEvent) -> str | None:
    if event.type == "failed":
        return event.error
    return event.reason if event.type == "cancelled" else None


def _progress(event: Progress, entry_id: EntryId) -> ProgressState:
    remaining = event.remaining_seconds
    return ProgressState(
        entry_id=entry_id,
        step=event.step,
        percent=_clamped(event.percent),
        step_index=event.step_index,
        step_total=event.step_total,
        step_name_display=event.step_name_display,
        step_percent=_clamped(event.step_percent),
        remaining_seconds=None if remaining is None else _whole(remaining),
        extra=_beside_named(event.extra) if event.extra else {},
    )


def _beside_named(extra: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: value for name, value in extra.items() if name not in PROGRESS_FIELDS}


def _clamped(percent: float | None) -> float | None:
    return None if percent is None else _whole(min(100.0, max(0.0, percent)))


def _whole(value: float) -> float:
    """A whole number stays one in documents: 10, not 10.0."""
    return int(value) if value.is_integer() else value

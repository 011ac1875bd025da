"""The fold: the pure function from the events of a job to its state.

The winner is the greatest event by attempt, rank and entry id; among ends of one rank the earliest
wins. An event that does not win may still add facts, such as labels, and removes none.

`fold` is the definition, for one event. `fold_all` returns the same state for many events in one
pass, and a property test compares the two. The writers of projections, replays and the explanation
of a job call `fold_all`. Used by `projections.reading`, `projections.replay.folded_jobs`,
`projections.rows.writer`, `projections.status.document_writes` and `projections.status.writer`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from projections.decoding import DecodedEvent, Progress, happened_at
from projections.progress_fields import progress_document
from projections.state import AttributedValue, JobState, Moment, ProgressState
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

Pair = tuple[EntryId, DecodedEvent]
_BEFORE_ALL, _AFTER_ALL = EntryId(-1, 0), EntryId(2**64, 0)
_NOTHING = JobState(
    attempt=0,
    state=State.QUEUED,
    entry_id=_BEFORE_ALL,
    updated_at=datetime.fromtimestamp(0, UTC),
    worker=None,
    result=None,
    error=None,
    code=None,
    created=Moment(_AFTER_ALL, datetime.fromtimestamp(0, UTC)),
    started=None,
    job_type=None,
    labels={},
    progress=None,
)
"""The state before the first event: each event wins over it, and is earlier than its moments."""
WonFacts = tuple[
    int, State, EntryId, datetime, str | None, Mapping[str, Any] | None, str | None, str | None
]
"""The first fields of a state, from `attempt` to `code`: the facts of the winner."""
_WON: Final = 8  # the number of them; a literal, so that the types of slices are known
_new = tuple.__new__  # builds a named tuple without the cost of its own constructor


def fold(state: JobState | None, event: DecodedEvent, entry_id: EntryId) -> JobState:
    """Return a job's state with one more event; the state of a job without events is None."""
    state = _NOTHING if state is None else state
    if event.attempt >= state.attempt:
        if _wins(event, entry_id, state):
            state = _won(state, event, entry_id)
        state = _with_attempt_facts(state, event, entry_id)
    return _with_job_facts(state, event, entry_id)


def fold_all(state: JobState | None, events: Sequence[Pair]) -> JobState | None:
    """Return a job's state with more events, the same as if each were folded in turn.

    Each fact of a state comes from one event. So a first pass only compares events, to find those
    few, and then one state is made from them.
    """
    if not events:
        return state
    state = _NOTHING if state is None else state
    return _state_of(state, _sources(state, events))


class _Sources(NamedTuple):
    """The events of a batch from which facts come; None where the stored fact remains.

    Each event is followed by its entry id, or by that of the stored fact.
    """

    attempt: int
    """The winning attempt."""
    winner: DecodedEvent | None
    winner_at: EntryId
    created: DecodedEvent | None
    created_at: EntryId
    started: DecodedEvent | None
    started_at: EntryId
    progress: Progress | None
    progress_at: EntryId
    attributed: Sequence[Pair]
    """The events with a job type or labels, among which `_is_later` decides value by value."""


def _sources(state: JobState, events: Iterable[Pair]) -> _Sources:
    """Return the events from which facts come. Most events cost no more than this loop."""
    top, held, winner_at = state.attempt, RANKS[state.state], state.entry_id
    created_at = state.created.entry_id
    started_at = _AFTER_ALL if state.started is None else state.started.entry_id
    progress_at = _BEFORE_ALL if state.progress is None else state.progress.entry_id
    winner = created = started = None
    progress: Progress | None = None
    attributed = list[Pair]()
    ranks = RANKS
    for entry_id, event in events:
        if entry_id < created_at:
            created_at, created = entry_id, event
        if event.job_type is not None or event.labels:
            attributed.append((entry_id, event))
        attempt = event.attempt
        if attempt < top:
            continue
        rank = ranks[event.type]
        if attempt > top:
            top, held, winner_at, winner = attempt, rank, entry_id, event
            started_at, started = _AFTER_ALL, None
            progress_at, progress = _BEFORE_ALL, None
        elif rank > held or (
            rank == held and (entry_id > winner_at if rank < _FIRST_END else entry_id < winner_at)
        ):
            held, winner_at, winner = rank, entry_id, event
        if rank == _WORKING:
            if entry_id < started_at:
                started_at, started = entry_id, event
            if event.type == "progress" and entry_id > progress_at:
                progress_at, progress = entry_id, event
    facts = winner, winner_at, created, created_at, started, started_at, progress, progress_at
    return _new(_Sources, (top, *facts, attributed))


def _state_of(state: JobState, sources: _Sources) -> JobState:
    """Return the state with the facts of these events."""
    (
        attempt,
        winner,
        winner_at,
        first,
        first_at,
        working,
        working_at,
        latest,
        latest_at,
        attributed,
    ) = sources
    created, started, job_type, labels, progress = state[_WON:]
    if attempt > state.attempt:
        started = progress = None
    for entry_id, event in attributed:
        if event.job_type is not None and _is_later(job_type, event.attempt, entry_id):
            job_type = _new(AttributedValue, (event.attempt, entry_id, event.job_type))
        if event.labels:
            labels = _merged_labels(labels, event, entry_id)
    if first is not None:
        created = _moment(first, first_at)
    if working is not None:
        started = _moment(working, working_at)
    if latest is not None:
        progress = _progress(latest, latest_at)
    won = state[:_WON] if winner is None else _won_facts(winner, winner_at)
    return _new(JobState, (*won, created, started, job_type, labels, progress))


def _wins(event: DecodedEvent, entry_id: EntryId, state: JobState) -> bool:
    """Return True if an event wins over the winner so far."""
    if event.attempt != state.attempt:
        return event.attempt > state.attempt
    rank, held = RANKS[event.type], RANKS[state.state]
    if rank != held:
        return rank > held
    return entry_id < state.entry_id if rank >= _FIRST_END else entry_id > state.entry_id


def _moment(event: DecodedEvent, entry_id: EntryId) -> Moment:
    return _new(Moment, (entry_id, happened_at(event, entry_id)))


def _won(state: JobState, event: DecodedEvent, entry_id: EntryId) -> JobState:
    """Return the state with the facts of its new winner; a higher attempt has its own progress."""
    same = event.attempt == state.attempt
    return JobState(
        *_won_facts(event, entry_id),
        created=state.created,
        started=state.started if same else None,
        job_type=state.job_type,
        labels=state.labels,
        progress=state.progress if same else None,
    )


def _won_facts(event: DecodedEvent, entry_id: EntryId) -> WonFacts:
    return (
        event.attempt,
        _STATES[event.type],
        entry_id,
        happened_at(event, entry_id),
        event.worker,
        event.result or {} if event.type == "done" else None,
        _error(event),
        event.code if event.type == "failed" else None,
    )


def _with_attempt_facts(state: JobState, event: DecodedEvent, entry_id: EntryId) -> JobState:
    """Return the state with the facts that an event adds to its attempt, the winning one."""
    if RANKS[event.type] != _WORKING:
        return state
    if state.started is None or entry_id < state.started.entry_id:
        state = state._replace(started=_moment(event, entry_id))
    if event.type == "progress" and (state.progress is None or entry_id > state.progress.entry_id):
        state = state._replace(progress=_progress(event, entry_id))
    return state


def _with_job_facts(state: JobState, event: DecodedEvent, entry_id: EntryId) -> JobState:
    """Return the state with the facts that an event of any attempt adds to the job."""
    if entry_id < state.created.entry_id:
        state = state._replace(created=_moment(event, entry_id))
    if event.job_type is not None and _is_later(state.job_type, event.attempt, entry_id):
        state = state._replace(job_type=AttributedValue(event.attempt, entry_id, event.job_type))
    if event.labels:
        labels = _merged_labels(state.labels, event, entry_id)
        if labels != state.labels:
            state = state._replace(labels=labels)
    return state


def _is_later(value: AttributedValue | None, attempt: int, entry_id: EntryId) -> bool:
    return value is None or (attempt, entry_id) > (value.attempt, value.entry_id)


def _merged_labels(
    labels: Mapping[str, AttributedValue], event: DecodedEvent, entry_id: EntryId
) -> Mapping[str, AttributedValue]:
    """Return labels merged name by name; only the first sixteen by name are kept."""
    merged = dict(labels)
    for name, value in (event.labels or {}).items():
        if _is_later(merged.get(name), event.attempt, entry_id):
            merged[name] = AttributedValue(event.attempt, entry_id, value)
    return {name: merged[name] for name in sorted(merged)[:MAX_LABELS]}


def _error(event: DecodedEvent) -> str | None:
    if event.type == "failed":
        return event.error
    return event.reason if event.type == "cancelled" else None


def _progress(event: Progress, entry_id: EntryId) -> ProgressState:
    return _new(ProgressState, (entry_id, progress_document(event)))

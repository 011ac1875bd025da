"""The explanation of a job's state: the event that won, by which rule, late events, and a timeline.

`projections.fold` decides which event wins; the rules that are named here are its rules. The
console of operators uses this module.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import NamedTuple

from projections.decoding import DecodedEvent, happened_at
from projections.fold import RANKS, fold_all
from streams.entry_ids import EntryId

FIRST_END = RANKS["failed"]
"""The lowest rank of an end."""

IdentifiedEvent = tuple[EntryId, DecodedEvent]
"""An event and the id of its entry."""

Ends = Mapping[int, EntryId]
"""By rank, the earliest end of an attempt that has at least this rank."""


class LosingEvent(NamedTuple):
    """An event that did not win, and why."""

    entry_id: EntryId
    type: str
    attempt: int
    rule: str
    """The rule that decided: `attempt`, `rank` or `entry_id`."""
    reason: str
    late: bool
    """True if it came after an end of its attempt that it cannot replace."""


class LateEvents(NamedTuple):
    """Events of one attempt that arrived when nothing more was expected of it."""

    attempt: int
    events: int
    first: EntryId
    """The entry of the first of them."""
    after: IdentifiedEvent
    """The end of the attempt, or the first event of a later attempt."""
    next_attempt: int
    """The attempt that a job which runs again needs."""
    note: str
    """A sentence on what happened and what to do about it."""


class Explanation(NamedTuple):
    """The event that won, the events that it won over, and the events that came too late."""

    entry_id: EntryId
    type: str
    attempt: int
    reason: str
    superseded: Sequence[LosingEvent]
    """The strongest event of each type in each attempt."""
    late: Sequence[LateEvents]
    """One item for each attempt with late events."""


class StepSpan(NamedTuple):
    """A step of one attempt: from its first event to that of the next step, or to the end."""

    attempt: int
    name: str
    display: str
    """The name for people."""
    start: datetime
    end: datetime
    late: bool
    """True if the step began after the end of its attempt."""


class AttemptMoment(NamedTuple):
    """An event of one attempt other than progress: queued, processing, or an end."""

    attempt: int
    type: str
    at: datetime
    entry_id: EntryId
    late: bool
    """True if it came after an end of its attempt that it cannot replace."""


class Timeline(NamedTuple):
    """The steps and moments of a job, attempt by attempt, in the order of their entries."""

    spans: Sequence[StepSpan]
    moments: Sequence[AttemptMoment]


def explain(events: Iterable[IdentifiedEvent]) -> Explanation | None:
    """Explain the state that the events of one job result in; return None if there are none."""
    ordered = sorted(events, key=_entry_id)
    state = fold_all(None, ordered)
    if state is None:
        return None
    winner = next(event for entry_id, event in ordered if entry_id == state.entry_id)
    ends = _ends_by_attempt(ordered)
    others = [
        _superseded(each, (state.entry_id, winner), ends)
        for each in _strongest(ordered, state.entry_id)
    ]
    reason = _reason_of_winner(winner, others)
    late = _late_events(ordered)
    return Explanation(state.entry_id, winner.type, winner.attempt, reason, others, late)


def timeline(events: Iterable[IdentifiedEvent]) -> Timeline:
    """Return the timeline of a job's events."""
    ordered = sorted(events, key=lambda each: (each[1].attempt, each[0]))
    spans, moments = list[StepSpan](), list[AttemptMoment]()
    for attempt, group in groupby(ordered, lambda each: each[1].attempt):
        of_attempt = list(group)
        ends = _first_ends(of_attempt)
        spans += _spans(attempt, of_attempt, ends)
        moments += (
            AttemptMoment(
                attempt,
                event.type,
                happened_at(event, entry_id),
                entry_id,
                _is_late((entry_id, event), ends),
            )
            for entry_id, event in of_attempt
            if event.type != "progress"
        )
    return Timeline(spans, moments)


def _late_events(events: Sequence[IdentifiedEvent]) -> list[LateEvents]:
    """Return the late events of each attempt, from events in the order of their entries."""
    highest = max(event.attempt for _, event in events)
    found: dict[int, LateEvents] = {}
    for entry_id, attempt, after in _late(events):
        held = found.get(attempt)
        if held is None:
            found[attempt] = LateEvents(attempt, 1, entry_id, after, highest + 1, "")
        else:
            found[attempt] = held._replace(events=held.events + 1)
    return [_with_note(found[attempt]) for attempt in sorted(found)]


def _late(
    events: Iterable[IdentifiedEvent],
) -> Iterator[tuple[EntryId, int, IdentifiedEvent]]:
    """Yield the entry and the attempt of each late event, and the event that it came after.

    An event is late if its attempt has ended, except for an end that ranks above that end, or if a
    higher attempt has begun. An event that was appended again is not late.
    """
    ends: dict[int, IdentifiedEvent] = {}
    newest: IdentifiedEvent | None = None
    for entry_id, event in _without_repeats(events):
        attempt, rank = event.attempt, RANKS[event.type]
        if newest is None or attempt > newest[1].attempt:
            newest = (entry_id, event)
        end = ends.get(attempt)
        if rank >= FIRST_END and (end is None or rank > RANKS[end[1].type]):
            ends[attempt] = (entry_id, event)
            end = None  # this event is the end
        if end is not None:
            yield entry_id, attempt, end
        elif attempt < newest[1].attempt:
            yield entry_id, attempt, newest


_RUN_AGAIN = (
    "and did not change the state. A job that runs again needs the next attempt:"
    ' attempt="next" in the SDK, or "attempt": {} in its events.'
)
_STOP = "and did not change the state. Check whether a worker still runs attempt {}, and stop it."


def _with_note(late: LateEvents) -> LateEvents:
    entry_id, event = late.after
    if event.attempt == late.attempt:
        cause, advice = f"its end ({event.type}, entry {entry_id})", _RUN_AGAIN
    else:
        cause, advice = f"attempt {event.attempt} had begun (entry {entry_id})", _STOP
    events = "1 event" if late.events == 1 else f"{late.events} events"
    advice = advice.format(late.next_attempt if advice is _RUN_AGAIN else late.attempt)
    return late._replace(note=f"{events} of attempt {late.attempt} arrived after {cause}, {advice}")


def _without_repeats(events: Iterable[IdentifiedEvent]) -> Iterator[IdentifiedEvent]:
    seen: set[tuple[str, str, int]] = set()
    for entry_id, event in events:
        key = (event.event_id or str(entry_id), event.type, event.attempt)
        if key not in seen:
            seen.add(key)
            yield entry_id, event


def _spans(attempt: int, events: Sequence[IdentifiedEvent], ends: Ends) -> Iterator[StepSpan]:
    steps = [each for each in events if each[1].type == "progress"]
    runs = [
        list(run) for _, run in groupby(steps, lambda each: (_step(each), _is_late(each, ends)))
    ]
    times = [[happened_at(event, entry_id) for entry_id, event in run] for run in runs]
    # The first end ends the step that was running; later events do not extend it.
    until = next((each for each in events if each[0] == ends.get(FIRST_END)), events[-1])
    last = happened_at(until[1], until[0])
    for number, (run, moments) in enumerate(zip(runs, times, strict=True)):
        late = _is_late(run[0], ends)
        is_last = number + 1 == len(runs) or _is_late(runs[number + 1][0], ends)
        following = last if is_last else times[number + 1][0]
        # The clocks of producers may go backwards; a span must not.
        end = max(moments) if late else max([*moments, following])
        yield StepSpan(attempt, _step(run[0]), _display(run), min(moments), end, late)


def _step(identified: IdentifiedEvent) -> str:
    return getattr(identified[1], "step", None) or "progress"


def _display(run: Sequence[IdentifiedEvent]) -> str:
    """Return the name of a step for people: the latest one that its events have."""
    for name in ("step_name_display", "step_name"):
        for _, event in reversed(run):
            text = getattr(event, name, None)
            if text:
                return str(text)
    return _step(run[0])


def _first_ends(events: Iterable[IdentifiedEvent]) -> Ends:
    """Return the earliest end of an attempt, and its earliest `done`, by their ranks."""
    ends = [(entry_id, RANKS[event.type]) for entry_id, event in events]
    return {
        needed: min(found)
        for needed in (FIRST_END, RANKS["done"])
        if (found := [entry_id for entry_id, rank in ends if rank >= needed])
    }


def _is_late(identified: IdentifiedEvent, ends: Ends) -> bool:
    """Return whether an earlier event ended the attempt, so that this one cannot win any more."""
    entry_id, event = identified
    end = ends.get(max(FIRST_END, RANKS[event.type]))
    return end is not None and end < entry_id


def _entry_id(identified: IdentifiedEvent) -> EntryId:
    return identified[0]


def _strongest(events: Sequence[IdentifiedEvent], winner: EntryId) -> Iterator[IdentifiedEvent]:
    """Return the strongest event of each type in each attempt, without the winner itself."""
    best: dict[tuple[int, str], IdentifiedEvent] = {}
    for entry_id, event in events:
        if entry_id == winner:
            continue
        key = (-event.attempt, event.type)
        # Of several ends of one type the earliest wins, of other events the latest.
        if key not in best or RANKS[event.type] < FIRST_END:
            best[key] = (entry_id, event)
    order = sorted(best, key=lambda key: (key[0], -RANKS[key[1]], key[1]))
    return (best[key] for key in order)


def _ends_by_attempt(events: Iterable[IdentifiedEvent]) -> Mapping[int, Ends]:
    ordered = sorted(events, key=lambda each: each[1].attempt)
    groups = groupby(ordered, lambda each: each[1].attempt)
    return {attempt: _first_ends(list(group)) for attempt, group in groups}


def _superseded(
    identified: IdentifiedEvent, winner: IdentifiedEvent, ends: Mapping[int, Ends]
) -> LosingEvent:
    entry_id, event = identified
    rule, reason = _deciding_rule(entry_id, event, *winner)
    late = _is_late(identified, ends[event.attempt])
    return LosingEvent(entry_id, event.type, event.attempt, rule, reason, late)


def _deciding_rule(
    entry_id: EntryId, event: DecodedEvent, winner_id: EntryId, winner: DecodedEvent
) -> tuple[str, str]:
    """Return the rule by which an event lost against the winner, and a sentence about it."""
    if event.attempt != winner.attempt:
        return "attempt", f"attempt {winner.attempt} is higher than {event.attempt}"
    rank, highest = RANKS[event.type], RANKS[winner.type]
    if rank != highest:
        return "rank", f"{winner.type} (rank {highest}) ranks above {event.type} (rank {rank})"
    if rank >= FIRST_END:
        return (
            "entry_id",
            f"of ends of one rank the earliest wins: {winner_id}, not {entry_id}",
        )
    return "entry_id", f"of events of one rank the latest wins: {winner_id}, not {entry_id}"


def _reason_of_winner(winner: DecodedEvent, superseded: Sequence[LosingEvent]) -> str:
    """Return the rules that decided, in the order in which the fold applies them."""
    if not superseded:
        return "it is the only event"
    applied = {each.rule for each in superseded}
    sentences = {
        "attempt": f"its attempt, {winner.attempt}, is the highest",
        "rank": f"no event of the attempt ranks above {winner.type}",
        "entry_id": "it is the earliest end of its rank"
        if RANKS[winner.type] >= FIRST_END
        else "it is the latest event of its rank",
    }
    return "; ".join(text for rule, text in sentences.items() if rule in applied)

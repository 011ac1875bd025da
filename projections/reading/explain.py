"""The explanation of a job's state: the event that won, by which rule, late events, and a timeline.

`projections.fold` decides which event wins; the rules that are named here are its rules. Used by
`api.operators.job_details`, `projections.reading.all_tenants.job_details`,
`projections.reading.failures` and `projections.reading.past_state`.
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


class IdentifiedEvent(NamedTuple):
    """An event and the id of its entry."""

    entry_id: EntryId
    event: DecodedEvent
    repeat_of: EntryId | None = None
    """The first entry of an event that was appended again, if this is its latest entry."""


Ends = Mapping[int, EntryId]
"""For the ranks of `failed` and `done`: the earliest event of at least this rank, if any."""


class LosingEvent(NamedTuple):
    """An event that did not win, and why."""

    entry_id: EntryId
    type: str
    attempt: int
    rule: str
    """The rule that decided: `attempt`, `rank` or `entry_id`."""
    reason: str
    after_end: bool
    """True if it came after an end of its attempt that it cannot replace."""


class LateEvents(NamedTuple):
    """Events of one attempt that arrived when nothing more was expected of it."""

    attempt: int
    events: int
    """The number of them; there may be more if not all events of the job were read."""
    first: EntryId
    """The entry of the first of them."""
    after: IdentifiedEvent
    """The end of the attempt, or the first event of a later attempt."""
    next_attempt: int
    """The number of the next attempt, for a job that is run again."""
    note: str
    """A sentence on what happened and what to do about it."""


class Explanation(NamedTuple):
    """The event that won, the events that it won over, and the events that came too late."""

    entry_id: EntryId
    type: str
    attempt: int
    reason: str
    superseded: Sequence[LosingEvent]
    """For each type in each attempt, the event that the rules prefer; without the winner."""
    late: Sequence[LateEvents]
    """One item for each attempt with late events."""


class StepSpan(NamedTuple):
    """A step of one attempt: from its first event to the first event of the next step.

    The last step lasts to the end of the attempt; if that has not ended, to its last event.
    """

    attempt: int
    name: str
    display: str
    """The name for people."""
    start: datetime
    end: datetime
    after_end: bool
    """True if the step began after the end of its attempt."""


class AttemptMoment(NamedTuple):
    """An event of one attempt other than progress: queued, processing, or an end."""

    attempt: int
    type: str
    at: datetime
    entry_id: EntryId
    after_end: bool
    """True if it came after an end of its attempt that it cannot replace."""


class Timeline(NamedTuple):
    """The steps and moments of a job, attempt by attempt, in the order of their entries."""

    spans: Sequence[StepSpan]
    moments: Sequence[AttemptMoment]


def explain(events: Iterable[IdentifiedEvent], *, complete: bool = True) -> Explanation | None:
    """Explain the state that the events of one job result in; return None if there are none.

    Args:
        events: the events, in any order.
        complete: False if the job has more events than these.
    """
    ordered = sorted(events, key=_entry_id)
    state = fold_all(None, [(each.entry_id, each.event) for each in ordered])
    if state is None:
        return None
    winner = next(each for each in ordered if each.entry_id == state.entry_id)
    distinct = _distinct(ordered)
    ends = _ends_by_attempt(distinct)
    # If the winner is the latest entry of an event that was appended again, the first did not lose.
    own = {winner.entry_id, winner.repeat_of}
    others = [
        _superseded(each, winner, ends)
        for each in _preferred(each for each in distinct if each.entry_id not in own)
    ]
    return Explanation(
        winner.entry_id,
        winner.event.type,
        winner.event.attempt,
        _reason_of_winner(winner.event, others),
        others,
        _late_events(distinct, "" if complete else "At least "),
    )


def timeline(events: Iterable[IdentifiedEvent]) -> Timeline:
    """Return the timeline of a job's events; each event is in it once, with its first entry."""
    ordered = sorted(_distinct(events), key=lambda each: (each.event.attempt, each.entry_id))
    spans, moments = list[StepSpan](), list[AttemptMoment]()
    for attempt, group in groupby(ordered, _attempt):
        of_attempt = list(group)
        ends = _first_ends(of_attempt)
        spans += _spans(attempt, of_attempt, ends)
        moments += (
            AttemptMoment(
                attempt,
                each.event.type,
                happened_at(each.event, each.entry_id),
                each.entry_id,
                _is_after_end(each, ends),
            )
            for each in of_attempt
            if each.event.type != "progress"
        )
    return Timeline(spans, moments)


def _distinct(events: Iterable[IdentifiedEvent]) -> list[IdentifiedEvent]:
    """Return each event with its first entry only."""
    return [each for each in events if each.repeat_of is None]


def _late_events(events: Sequence[IdentifiedEvent], at_least: str) -> list[LateEvents]:
    """Return the late events of each attempt, from events in the order of their entries."""
    highest = max(map(_attempt, events))
    found: dict[int, LateEvents] = {}
    for entry_id, attempt, after in _late(events):
        held = found.get(attempt)
        if held is None:
            found[attempt] = LateEvents(attempt, 1, entry_id, after, highest + 1, "")
        else:
            found[attempt] = held._replace(events=held.events + 1)
    return [late._replace(note=_note(late, highest, at_least)) for _, late in sorted(found.items())]


def _late(
    events: Iterable[IdentifiedEvent],
) -> Iterator[tuple[EntryId, int, IdentifiedEvent]]:
    """Yield the entry and the attempt of each late event, and the event that it came after.

    An event is late if its attempt has ended, except for an end that ranks above that end, or if a
    higher attempt has begun.
    """
    ends: dict[int, IdentifiedEvent] = {}
    newest: IdentifiedEvent | None = None
    for each in events:
        attempt, rank = each.event.attempt, RANKS[each.event.type]
        if newest is None or attempt > newest.event.attempt:
            newest = each
        end = ends.get(attempt)
        if rank >= FIRST_END and (end is None or rank > RANKS[end.event.type]):
            ends[attempt] = each
            end = None  # this event is the end; it is late only if a higher attempt has begun
        if end is not None:
            yield each.entry_id, attempt, end
        elif attempt < newest.event.attempt:
            yield each.entry_id, attempt, newest


_RUN_AGAIN = (
    "A job that runs again needs the next attempt:"
    ' attempt="next" in the SDK, or "attempt": {} in its events.'
)
_STOP = "Check whether a worker still runs attempt {}, and stop it."


def _note(late: LateEvents, highest: int, at_least: str) -> str:
    """Return the sentences on late events.

    Args:
        late: the late events, without their note.
        highest: the highest attempt of the job.
        at_least: the words before their number.
    """
    entry_id, event, _ = late.after
    if event.attempt == late.attempt:
        cause = f"its end ({event.type}, entry {entry_id})"
    else:
        cause = f"attempt {event.attempt} had begun (entry {entry_id})"
    events = "1 event" if late.events == 1 else f"{late.events} events"
    advice = (
        _RUN_AGAIN.format(late.next_attempt)
        if late.attempt == highest
        else _STOP.format(late.attempt)
    )
    return (
        f"{at_least}{events} of attempt {late.attempt} arrived after {cause}, and did not change "
        f"the status. {advice}"
    )


def _spans(attempt: int, events: Sequence[IdentifiedEvent], ends: Ends) -> Iterator[StepSpan]:
    steps = [each for each in events if each.event.type == "progress"]
    runs = [
        list(run)
        for _, run in groupby(steps, lambda each: (_step(each), _is_after_end(each, ends)))
    ]
    times_of_runs = [[happened_at(each.event, each.entry_id) for each in run] for run in runs]
    # The first end ends the step that was running; later events do not extend it.
    last = next((each for each in events if each.entry_id == ends.get(FIRST_END)), events[-1])
    attempt_end = happened_at(last.event, last.entry_id)
    for index, (run, times) in enumerate(zip(runs, times_of_runs, strict=True)):
        after_end = _is_after_end(run[0], ends)
        is_last = index + 1 == len(runs) or _is_after_end(runs[index + 1][0], ends)
        next_start = attempt_end if is_last else times_of_runs[index + 1][0]
        # The clocks of producers may go backwards; a span must not.
        end = max(times) if after_end else max([*times, next_start])
        yield StepSpan(attempt, _step(run[0]), _display(run), min(times), end, after_end)


def _step(identified: IdentifiedEvent) -> str:
    return getattr(identified.event, "step", None) or "progress"


def _display(run: Sequence[IdentifiedEvent]) -> str:
    """Return the name of a step for people: the latest one that its events have."""
    for each in reversed(run):
        if text := getattr(each.event, "step_name_display", None):
            return str(text)
    return _step(run[0])


def _first_ends(events: Iterable[IdentifiedEvent]) -> Ends:
    """Return the earliest events of at least the rank of `failed`, and of `done`, by that rank."""
    ranks = [(each.entry_id, RANKS[each.event.type]) for each in events]
    return {
        lowest: min(entries)
        for lowest in (FIRST_END, RANKS["done"])
        if (entries := [entry_id for entry_id, rank in ranks if rank >= lowest])
    }


def _is_after_end(identified: IdentifiedEvent, ends: Ends) -> bool:
    """Return whether an earlier event ended the attempt, so that this one cannot win any more."""
    end = ends.get(max(FIRST_END, RANKS[identified.event.type]))
    return end is not None and end < identified.entry_id


def _entry_id(identified: IdentifiedEvent) -> EntryId:
    return identified.entry_id


def _attempt(identified: IdentifiedEvent) -> int:
    return identified.event.attempt


def _preferred(events: Iterable[IdentifiedEvent]) -> Iterator[IdentifiedEvent]:
    """Return the event of each type in each attempt that the rules prefer, the best first."""
    best: dict[tuple[int, str], IdentifiedEvent] = {}
    for each in events:
        key = (-each.event.attempt, each.event.type)
        # Of several ends of one type the earliest wins, of other events the latest.
        if key not in best or RANKS[each.event.type] < FIRST_END:
            best[key] = each
    order = sorted(best, key=lambda key: (key[0], -RANKS[key[1]], key[1]))
    return (best[key] for key in order)


def _ends_by_attempt(events: Iterable[IdentifiedEvent]) -> Mapping[int, Ends]:
    groups = groupby(sorted(events, key=_attempt), _attempt)
    return {attempt: _first_ends(list(group)) for attempt, group in groups}


def _superseded(
    loser: IdentifiedEvent, winner: IdentifiedEvent, ends: Mapping[int, Ends]
) -> LosingEvent:
    rule, reason = _deciding_rule(loser, winner)
    entry_id, event, _ = loser
    after_end = _is_after_end(loser, ends[event.attempt])
    return LosingEvent(entry_id, event.type, event.attempt, rule, reason, after_end)


def _deciding_rule(loser: IdentifiedEvent, winner: IdentifiedEvent) -> tuple[str, str]:
    """Return the rule by which an event lost against the winner, and a sentence about it."""
    event, best = loser.event, winner.event
    if event.attempt != best.attempt:
        return "attempt", f"attempt {best.attempt} is higher than {event.attempt}"
    rank, highest = RANKS[event.type], RANKS[best.type]
    if rank != highest:
        return "rank", f"{best.type} (rank {highest}) ranks above {event.type} (rank {rank})"
    compared = f"{winner.entry_id}, not {loser.entry_id}"
    if rank >= FIRST_END:
        return "entry_id", f"of ends of one rank the earliest wins: {compared}"
    return "entry_id", f"of events of one rank the latest wins: {compared}"


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

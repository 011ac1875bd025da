"""Why a job is in its state: which entry won, by which rule, and a picture of what was told.

The fold itself says who won; the rules named here are its own ranks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import groupby
from typing import NamedTuple

from projections.decoding import DecodedEvent, happened_at
from projections.fold import RANKS, fold_all
from streams.entry_ids import EntryId

FIRST_END = RANKS["failed"]

Told = tuple[EntryId, DecodedEvent]
"""An event and where it stands in the log."""


class Loser(NamedTuple):
    """An event that might have decided, and the rule by which it did not."""

    entry_id: EntryId
    type: str
    attempt: int
    rule: str
    """attempt, rank, or entry_id."""
    because: str


class Explanation(NamedTuple):
    """Which event won, and over what."""

    entry_id: EntryId
    type: str
    attempt: int
    because: str
    losers: Sequence[Loser]
    """The strongest of each type in each attempt."""


class Span(NamedTuple):
    """A step of one attempt: from its first word to the next one's, or to the last of all."""

    attempt: int
    name: str
    start: datetime
    end: datetime


class Mark(NamedTuple):
    """A moment of one attempt: queued, processing, or an end."""

    attempt: int
    type: str
    at: datetime
    entry_id: EntryId


class Timeline(NamedTuple):
    """A job's life as a picture needs it, in the order of time."""

    spans: Sequence[Span]
    marks: Sequence[Mark]


def explain(events: Iterable[Told]) -> Explanation | None:
    """Say why these events of one job add up to what they do; None of none."""
    told = sorted(events, key=_entry_id)
    state = fold_all(None, told)
    if state is None:
        return None
    winner = next(event for entry_id, event in told if entry_id == state.entry_id)
    others = [_lost(each, state.entry_id, winner) for each in _strongest(told, state.entry_id)]
    return Explanation(
        state.entry_id, winner.type, winner.attempt, _won_because(winner, others), others
    )


def timeline(events: Iterable[Told]) -> Timeline:
    """Give the picture of a job's events."""
    told = sorted(events, key=lambda each: (each[1].attempt, each[0]))
    spans, marks = list[Span](), list[Mark]()
    for attempt, group in groupby(told, lambda each: each[1].attempt):
        of_attempt = list(group)
        spans += _spans(attempt, of_attempt)
        marks += (
            Mark(attempt, event.type, happened_at(event, entry_id), entry_id)
            for entry_id, event in of_attempt
            if event.type != "progress"
        )
    return Timeline(spans, marks)


def _spans(attempt: int, told: Sequence[Told]) -> Iterator[Span]:
    steps = [(entry_id, event) for entry_id, event in told if event.type == "progress"]
    ends = [each for each in told if RANKS[each[1].type] >= FIRST_END]
    # What was said after the first end did not make the last step any longer.
    until = ends[:1] or told
    last = max((happened_at(event, entry_id) for entry_id, event in until), default=None)
    runs = [
        (name, [happened_at(event, entry_id) for entry_id, event in run])
        for name, run in groupby(steps, lambda each: getattr(each[1], "step", None) or "progress")
    ]
    for number, (name, moments) in enumerate(runs):
        following = runs[number + 1][1][0] if number + 1 < len(runs) else last
        # Producers' clocks may go backwards; a span does not.
        yield Span(attempt, name, min(moments), max([*moments, following or moments[-1]]))


def _entry_id(told: Told) -> EntryId:
    return told[0]


def _strongest(told: Sequence[Told], winner: EntryId) -> Iterator[Told]:
    """Give the event of each type in each attempt that would stand, the winner left out."""
    best: dict[tuple[int, str], Told] = {}
    for entry_id, event in told:
        if entry_id == winner:
            continue
        key = (-event.attempt, event.type)
        # Among ends of one rank the earliest stands, of the others the latest.
        if key not in best or RANKS[event.type] < FIRST_END:
            best[key] = (entry_id, event)
    order = sorted(best, key=lambda key: (key[0], -RANKS[key[1]], key[1]))
    return (best[key] for key in order)


def _lost(told: Told, won: EntryId, winner: DecodedEvent) -> Loser:
    entry_id, event = told
    rule, because = _rule(entry_id, event, won, winner)
    return Loser(entry_id, event.type, event.attempt, rule, because)


def _rule(
    entry_id: EntryId, event: DecodedEvent, won: EntryId, winner: DecodedEvent
) -> tuple[str, str]:
    if event.attempt != winner.attempt:
        return "attempt", f"attempt {winner.attempt} is higher than {event.attempt}"
    rank, held = RANKS[event.type], RANKS[winner.type]
    if rank != held:
        return "rank", f"{winner.type} (rank {held}) beats {event.type} (rank {rank})"
    if rank >= FIRST_END:
        return "entry_id", f"among ends of one rank the earliest stands: {won} before {entry_id}"
    return "entry_id", f"of one rank the later stands: {won} after {entry_id}"


def _won_because(winner: DecodedEvent, losers: Sequence[Loser]) -> str:
    """Name the rules that it took, in the contract's order."""
    if not losers:
        return "it is the only event"
    rules = [
        rule for rule in ("attempt", "rank", "entry_id") if rule in {one.rule for one in losers}
    ]
    words = {
        "attempt": f"its attempt, {winner.attempt}, is the highest",
        "rank": f"within the attempt no event ranks above {winner.type}",
        "entry_id": "of its rank the earliest end stands"
        if RANKS[winner.type] >= FIRST_END
        else "of its rank it is the latest",
    }
    return "; ".join(words[rule] for rule in rules)

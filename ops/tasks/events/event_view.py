"""Entries of a stream as people read them, and the choice of some of them, for `jobtrail tail`.

Used by `ops.commands.tail`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from ops.errors import WrongArgument
from ops.tasks.events.stream_tail import RawEntry
from ops.tasks.job_status import STATE_COLOURS
from ops.text.tables import Line, Span
from ops.text.times import local_time
from streams.events import TYPES, Event, InvalidEvent, Progress, dump_json, parse_event
from streams.kinds import KINDS, State

_LEFT_OUT = {"v", "type", "kind", "id", "event_id", "at", "traceparent"}
"""Fields that are at the beginning of the line, or of no interest to people."""
_SHOWN_FIRST = ("error", "code", "result")
_IN_PROGRESS_TEXT = {"step", "percent", "step_index", "step_total", "step_name_display"}


class Filter(NamedTuple):
    """The events to show; an empty sequence means no restriction."""

    kinds: Sequence[str] = ()
    ids: Sequence[str] = ()
    types: Sequence[str] = ()
    states: Sequence[str] = ()

    def takes(self, entry: RawEntry) -> bool:
        """Return whether the entry is shown; one that is not a valid event only without filters."""
        if not any(self):
            return True
        try:
            event = parse_event(entry.raw)
        except InvalidEvent:
            return False
        of_event = (event.kind, event.id, event.type, str(state_of(event.type)))
        return all(not some or each in some for some, each in zip(self, of_event, strict=True))


def filter_of(
    kinds: Sequence[str], ids: Sequence[str], types: Sequence[str], states: Sequence[str]
) -> Filter:
    """Return the filter that options describe; a state may be one of a kind's words, as `READY`.

    Raises:
        WrongArgument: there is no such kind, type or state.
    """
    for option, given, known in (("--kind", kinds, KINDS), ("--type", types, TYPES)):
        for each in given:
            if each not in known:
                raise WrongArgument(f"{option}: {each!r} is none of {', '.join(known)}")
    return Filter(kinds, ids, types, [_state(each) for each in states])


def state_of(event_type: str) -> State:
    """Return the state that a type of event reports."""
    try:
        return State(event_type)
    except ValueError:  # `progress`, the only type that is not the name of a state
        return State.PROCESSING


def json_of(entry: RawEntry) -> dict[str, object]:
    """Return the entry as a JSON object; its event is a string if it is not JSON."""
    try:
        event: object = json.loads(entry.raw, parse_constant=_refused)
    except (ValueError, RecursionError):
        event = entry.raw.decode("utf-8", "replace")
    return {"entry_id": str(entry.entry_id), "event": event}


def describe(entry: RawEntry) -> tuple[Line, bool]:
    """Return the entry as spans, and whether it may be cut at the width of the terminal.

    Progress may, because more of it follows.
    """
    when = Span(local_time(entry.entry_id.time, milliseconds=True), "dim")
    try:
        event = parse_event(entry.raw)
    except InvalidEvent as error:
        return [when, Span(f"  {entry.entry_id}  "), Span(f"not an event: {error}", "red")], False
    line = [
        when,
        Span(f"  {event.type:<10}", STATE_COLOURS.get(event.type)),
        Span(f"  {event.kind}:{event.id}", "bold"),
        *(Span(f"  {text}") for text in _facts(event) if text),
    ]
    return line, isinstance(event, Progress)


def _facts(event: Event) -> Iterator[str]:
    """Yield texts about an event: its progress, then error, code and result, then other fields."""
    left_out = _LEFT_OUT
    if isinstance(event, Progress):
        left_out = left_out | _IN_PROGRESS_TEXT
        yield _progress(event)
    facts: dict[str, Any] = event.model_dump(exclude=left_out, exclude_none=True)
    first = {name: facts[name] for name in _SHOWN_FIRST if name in facts}
    for name, value in {**first, **facts}.items():
        yield f"{name}={value if isinstance(value, str) else _json(value)}"


def _progress(event: Progress) -> str:
    percent = None if event.percent is None else f"{event.percent:g}%"
    steps = (event.step_index, event.step_total)
    index = None if steps == (None, None) else "/".join(map(_number, steps))
    name = event.step_name_display if event.step_name_display != event.step else None
    return " ".join(filter(None, (event.step, percent, index, name)))


def _number(step: int | None) -> str:
    return "?" if step is None else str(step)


def _json(value: object) -> str:
    return dump_json(value).decode()


def _state(text: str) -> str:
    for kind in KINDS.values():
        for state, word in kind.words.items():
            if text.lower() in (state.value, word.lower()):
                return state.value
    raise WrongArgument(f"--state: {text!r} is none of {', '.join(State)}")


def _refused(constant: str) -> object:
    raise ValueError(constant)

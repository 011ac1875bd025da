"""The expected state of a job: the contract's section on the fold, as a sorting problem.

It is written from the sentences of the contract, for plain JSON, and shares no code with the fold
that is compared with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from projections.decoding import Entry
from projections.state import AttributedValue, JobState, Moment, ProgressState
from streams.entry_ids import EntryId
from streams.kinds import State

RANKS = {"queued": 0, "processing": 1, "progress": 1, "failed": 2, "cancelled": 2, "done": 3}
NAMED = (
    "step percent step_index step_total step_name step_name_display step_percent remaining_seconds"
).split()


class Fact(NamedTuple):
    """One event as plain JSON, and its entry id."""

    entry_id: EntryId
    fields: dict[str, Any]

    @property
    def type(self) -> str:
        """Its type."""
        return str(self.fields["type"])

    @property
    def attempt(self) -> int:
        """Its attempt, 1 by default."""
        return int(self.fields.get("attempt", 1))

    @property
    def at(self) -> datetime:
        """When it happened: its own time, or that of its entry id."""
        if "at" in self.fields:
            return datetime.fromisoformat(self.fields["at"]).astimezone(UTC)
        ms = min(self.entry_id.ms, 253_402_300_799_999)  # the last that a datetime can hold
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)

    @property
    def moment(self) -> Moment:
        """Its entry id and its time."""
        return Moment(self.entry_id, self.at)


def expected_state(entries: Iterable[Entry]) -> JobState:
    """Return the state of these entries of one job."""
    log = sorted(
        Fact(entry_id, _storable(json.loads(raw)))
        for entry_id, raw in {(entry.entry_id, entry.raw) for entry in entries}
    )
    attempt = max(fact.attempt for fact in log)
    ours = [fact for fact in log if fact.attempt == attempt]
    best = [fact for fact in ours if RANKS[fact.type] == max(RANKS[each.type] for each in ours)]
    winner = best[0] if RANKS[best[0].type] >= 2 else best[-1]
    working = [fact for fact in ours if RANKS[fact.type] == 1]
    reported = [fact for fact in ours if fact.type == "progress"]
    return JobState(
        attempt=attempt,
        state=State.PROCESSING if RANKS[winner.type] == 1 else State(winner.type),
        entry_id=winner.entry_id,
        updated_at=winner.at,
        worker=winner.fields.get("worker"),
        result=winner.fields.get("result", {}) if winner.type == "done" else None,
        error=_error(winner),
        code=winner.fields.get("code"),
        created=log[0].moment,
        started=working[0].moment if working else None,
        job_type=_latest(log, lambda fields: fields.get("job_type")),
        labels=_labels(log),
        progress=_progress(reported[-1]) if reported else None,
    )


def _storable(value: Any) -> Any:
    """Return a value with U+FFFD for NUL, which PostgreSQL's text cannot contain."""
    if isinstance(value, str):
        return value.replace("\0", "�")
    if isinstance(value, list):
        return [_storable(each) for each in value]
    if isinstance(value, dict):
        return {_storable(name): _storable(each) for name, each in value.items()}
    return value


def _error(winner: Fact) -> str | None:
    text = winner.fields.get({"failed": "error", "cancelled": "reason"}.get(winner.type, ""))
    return None if text is None else str(text)[:2_000]


def _latest(log: list[Fact], word: Any) -> AttributedValue | None:
    """Return the value of the highest attempt's latest entry that has one."""
    values = [
        AttributedValue(fact.attempt, fact.entry_id, word(fact.fields))
        for fact in log
        if word(fact.fields) is not None
    ]
    return max(values, key=lambda each: each[:2], default=None)


def _labels(log: list[Fact]) -> dict[str, AttributedValue]:
    names = sorted({name for fact in log for name in fact.fields.get("labels", {})})[:16]
    latest = {
        name: _latest(log, lambda fields, name=name: fields.get("labels", {}).get(name))
        for name in names
    }
    return {name: value for name, value in latest.items() if value}


def _progress(fact: Fact) -> ProgressState:
    fields = fact.fields
    extra = {name: each for name, each in fields.get("extra", {}).items() if name not in NAMED}
    document = {
        **extra,
        "step": fields.get("step"),
        "percent": _clamped(fields.get("percent")),
        "step_index": fields.get("step_index"),
        "step_total": fields.get("step_total"),
        "step_name": fields.get("step"),
        "step_name_display": fields.get("step_name_display"),
        "step_percent": _clamped(fields.get("step_percent")),
        "remaining_seconds": _whole(fields.get("remaining_seconds")),
    }
    return ProgressState(fact.entry_id, document)


def _clamped(percent: float | None) -> float | None:
    return _whole(None if percent is None else sorted([0, percent, 100])[1])


def _whole(value: float | None) -> float | None:
    return int(value) if value is not None and value == int(value) else value

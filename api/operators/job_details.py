"""The JSON of a job's explanation, failure, timeline and history. Used by `api.operators.jobs`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from api.answers.progress_answer import progress_answer
from projections.reading.all_tenants.job_details import DecidingEvents, HistoryEvent
from projections.reading.explain import (
    IdentifiedEvent,
    LateEvents,
    LosingEvent,
    explain,
    timeline,
)
from projections.reading.failures import last_failure
from projections.reading.past_state import past_state
from streams.keys import JobKey
from streams.kinds import KINDS

Json = dict[str, Any]


def explanation(found: DecidingEvents, row: Mapping[str, Any] | None) -> Json | None:
    """Return the JSON that explains which event determines a job's state; None without events.

    Args:
        found: the job's events, as far as they were read.
        row: the job's row, to compare with; None if it has none.
    """
    explained = explain(found.events, complete=found.read == found.total)
    if explained is None:
        return None
    return {
        "entry_id": str(explained.entry_id),
        "type": explained.type,
        "attempt": explained.attempt,
        "reason": explained.reason,
        "superseded": list(map(_superseded, explained.superseded)),
        "notes": list(map(_note, explained.late)),
        # They may differ: old history is dropped, and the row may have been read a moment earlier.
        "matches_row": row is None or row["entry_id"] == str(explained.entry_id),
    }


def _superseded(event: LosingEvent) -> Json:
    return {
        "entry_id": str(event.entry_id),
        "type": event.type,
        "attempt": event.attempt,
        "rule": event.rule,
        "reason": event.reason,
        "late": event.after_end,
    }


def _note(late: LateEvents) -> Json:
    entry_id, event, _ = late.after
    return {
        "attempt": late.attempt,
        "events": late.events,
        "entry_id": str(late.first),
        "after": {"entry_id": str(entry_id), "type": event.type, "attempt": event.attempt},
        "next_attempt": late.next_attempt,
        "text": late.note,
    }


def failure_details(events: Sequence[IdentifiedEvent]) -> Json | None:
    """Return the JSON of the last failure of a job's attempts; None if none has failed."""
    found = last_failure(events)
    return found and found._asdict() | {"entry_id": str(found.entry_id)}


def timeline_details(events: Sequence[IdentifiedEvent]) -> Json:
    """Return the JSON of a job's timeline: the steps and the moments of its attempts."""
    spans, moments = timeline(events)
    return {
        "spans": [
            {
                "attempt": span.attempt,
                "name": span.name,
                "display": span.display,
                "start": span.start,
                "end": span.end,
                "late": span.after_end,
            }
            for span in spans
        ],
        "moments": [
            {
                "attempt": moment.attempt,
                "type": moment.type,
                "at": moment.at,
                "entry_id": str(moment.entry_id),
                "late": moment.after_end,
            }
            for moment in moments
        ],
    }


def past_details(key: JobKey, events: Sequence[IdentifiedEvent]) -> Json | None:
    """Return the JSON of a job's state after these events, as clients saw it; None without events.

    `answer` is the body of the progress answer of that time.
    """
    kind = KINDS[key.kind]
    past = past_state(kind, events)
    if past is None:
        return None
    return {
        "entry_id": str(past.entry_id),
        "at": past.at,
        "type": past.type,
        "state": past.state,
        "won": past.won,
        "answer": progress_answer(kind, key.id, past.documents),
    }


def history_item(event: HistoryEvent) -> Json:
    """Return the JSON of one event of a history."""
    return {
        "entry_id": str(event.entry_id),
        "event": event.event,
        "appended": event.appends,
    }

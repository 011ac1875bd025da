"""The JSON of a job's explanation, timeline and history. Used by `api.operators.jobs`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from api.answers.progress_answer import progress_answer
from projections.decoding import happened_at
from projections.documents import write_documents
from projections.fold import fold_all
from projections.reading.all_tenants.job_details import HistoryEvent
from projections.reading.explain import IdentifiedEvent, explain, timeline
from streams.keys import JobKey
from streams.kinds import KINDS

Json = dict[str, Any]


def explanation(events: Sequence[IdentifiedEvent], row: Mapping[str, Any] | None) -> Json | None:
    """Return the JSON that explains which event determines a job's state; None without events.

    Args:
        events: the job's events with their entry ids.
        row: the job's row, to compare with; None if it has none.
    """
    found = explain(events)
    if found is None:
        return None
    return {
        "entry_id": str(found.entry_id),
        "type": found.type,
        "attempt": found.attempt,
        "reason": found.reason,
        "superseded": [
            {
                "entry_id": str(each.entry_id),
                "type": each.type,
                "attempt": each.attempt,
                "rule": each.rule,
                "reason": each.reason,
                "late": each.late,
            }
            for each in found.superseded
        ],
        "notes": [
            {
                "attempt": each.attempt,
                "events": each.events,
                "entry_id": str(each.first),
                "after": {
                    "entry_id": str(each.after[0]),
                    "type": each.after[1].type,
                    "attempt": each.after[1].attempt,
                },
                "next_attempt": each.next_attempt,
                "text": each.note,
            }
            for each in found.late
        ],
        # They may differ: old history is dropped, and the row may have been read a moment earlier.
        "matches_row": row is None or row["entry_id"] == str(found.entry_id),
    }


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
                "late": span.late,
            }
            for span in spans
        ],
        "moments": [
            {
                "attempt": moment.attempt,
                "type": moment.type,
                "at": moment.at,
                "entry_id": str(moment.entry_id),
                "late": moment.late,
            }
            for moment in moments
        ],
    }


def past_state(key: JobKey, events: Sequence[IdentifiedEvent]) -> Json | None:
    """Return the JSON of a job's state after these events, as clients saw it; None without events.

    `answer` is the body of the progress answer of that time.
    """
    ordered = sorted(events, key=lambda each: each[0])
    state = fold_all(None, ordered)
    if state is None:
        return None
    kind = KINDS[key.kind]
    last_id, last = ordered[-1]
    return {
        "entry_id": str(last_id),
        "at": happened_at(last, last_id),
        "type": last.type,
        "state": state.state,
        "won": state.entry_id == last_id,
        "answer": progress_answer(kind, key.id, write_documents(kind, state)),
    }


def history_item(event: HistoryEvent) -> Json:
    """Return the JSON of one event of a history."""
    return {
        "entry_id": str(event.entry_id),
        "event": event.event,
        "appended": event.appends,
    }

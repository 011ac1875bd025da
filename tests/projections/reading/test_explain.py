from __future__ import annotations

import pytest
from hypothesis import given

from projections.decoding import Entry, decode
from projections.fold import RANKS, fold_all
from projections.reading.explain import explain, timeline
from streams.entry_ids import EntryId
from streams.events import dump_json
from streams.keys import JobKey
from tests.support.strategies import logs

JOB = JobKey("42", "job", "a1")


def entries_of(*events: dict[str, object]) -> list[Entry]:
    return [
        decode("42", EntryId(n + 1, 0), [b"event", dump_json({"id": "a1", **event})])
        for n, event in enumerate(events)
    ]


@given(logs(JOB))
def test_the_winner_is_the_folds(entries: list[Entry]) -> None:
    events = [(entry.entry_id, entry.event) for entry in entries]
    state, found = fold_all(None, events), explain(events)
    assert state is not None
    assert found is not None
    assert (found.entry_id, found.attempt) == (state.entry_id, state.attempt)


@given(logs(JOB))
def test_every_superseded_event_lost_by_its_rule(entries: list[Entry]) -> None:
    found = explain((entry.entry_id, entry.event) for entry in entries)
    assert found is not None
    for each in found.superseded:
        rank, held = RANKS[each.type], RANKS[found.type]
        if each.rule == "attempt":
            assert each.attempt < found.attempt
        elif each.rule == "rank":
            assert (each.attempt, True) == (found.attempt, rank < held)
        else:
            ends = rank >= RANKS["failed"]
            assert (each.attempt, rank) == (found.attempt, held)
            assert (each.entry_id > found.entry_id) is ends


@given(logs(JOB))
def test_a_timeline_holds_every_attempt_and_runs_forward(entries: list[Entry]) -> None:
    found = timeline((entry.entry_id, entry.event) for entry in entries)
    attempts = {span.attempt for span in found.spans} | {moment.attempt for moment in found.moments}
    assert attempts == {entry.event.attempt for entry in entries}
    assert all(span.start <= span.end for span in found.spans)


def test_no_events_explain_nothing() -> None:
    assert explain([]) is None
    assert timeline([]) == ([], [])


def test_the_earliest_of_two_ends_wins_and_the_reason_says_so() -> None:
    entries = entries_of({"type": "failed"}, {"type": "cancelled"})
    found = explain((entry.entry_id, entry.event) for entry in entries)
    assert found is not None
    assert (found.type, found.reason) == ("failed", "it is the earliest end of its rank")
    (superseded,) = found.superseded
    assert (superseded.rule, superseded.reason) == (
        "entry_id",
        "of ends of one rank the earliest wins: 1-0, not 2-0",
    )


AFTER_END = (
    "2 events of attempt 1 arrived after its end (failed, entry 1-0), and did not change the state."
    ' A job that runs again needs the next attempt: attempt="next" in the SDK, or "attempt": 2 in'
    " its events."
)
AFTER_ATTEMPT = (
    "1 event of attempt 1 arrived after attempt 3 had begun (entry 2-0), and did not change the"
    " state. Check whether a worker still runs attempt 1, and stop it."
)


@pytest.mark.parametrize(
    ("events", "notes"),
    [
        ([{"type": "processing"}, {"type": "progress"}, {"type": "done"}], []),
        ([{"type": "failed"}, {"type": "done"}], []),  # `done` ranks above `failed`
        ([{"type": "done", "event_id": "e"}, {"type": "done", "event_id": "e"}], []),  # a retry
        ([{"type": "failed"}, {"type": "queued", "attempt": 2}], []),
        (
            [
                {"type": "failed"},
                {"type": "progress", "step": "late"},
                {"type": "done"},
                {"type": "queued"},
            ],
            [AFTER_END],
        ),
        (
            [
                {"type": "processing"},
                {"type": "processing", "attempt": 3},
                {"type": "done"},
            ],
            [AFTER_ATTEMPT],
        ),
    ],
)
def test_events_after_the_end_of_their_attempt_are_noted(
    events: list[dict[str, object]], notes: list[str]
) -> None:
    found = explain((entry.entry_id, entry.event) for entry in entries_of(*events))
    assert found is not None
    assert [each.note for each in found.late] == notes


def test_steps_follow_each_other_to_the_end() -> None:
    entries = entries_of(
        {"type": "processing"},
        {"type": "progress", "step": "a"},
        {"type": "progress", "step": "a"},
        {"type": "progress", "step": "b"},
        {"type": "done"},
        {"type": "failed"},  # late, and no longer part of the last step
    )
    found = timeline((entry.entry_id, entry.event) for entry in entries)
    shown = [
        (span.name, span.start.timestamp() * 1000, span.end.timestamp() * 1000)
        for span in found.spans
    ]
    assert shown == [("a", 2, 4), ("b", 4, 5)]
    assert [moment.type for moment in found.moments] == ["processing", "done", "failed"]

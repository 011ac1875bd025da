from __future__ import annotations

import pytest
from hypothesis import given

from projections.decoding import Entry, decode
from projections.fold import RANKS, fold_all
from projections.reading.explain import IdentifiedEvent, explain, timeline
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


def identified(entries: list[Entry], *repeats: tuple[int, int]) -> list[IdentifiedEvent]:
    """Return events with their entry ids; a repeat is a pair of the indexes of two of them."""
    first = {later: entries[earlier].entry_id for earlier, later in repeats}
    return [
        IdentifiedEvent(entry.entry_id, entry.event, first.get(index))
        for index, entry in enumerate(entries)
    ]


@given(logs(JOB))
def test_the_winner_is_the_folds(entries: list[Entry]) -> None:
    state = fold_all(None, [(entry.entry_id, entry.event) for entry in entries])
    found = explain(identified(entries))
    assert state is not None
    assert found is not None
    assert (found.entry_id, found.attempt) == (state.entry_id, state.attempt)


@given(logs(JOB))
def test_every_superseded_event_lost_by_its_rule(entries: list[Entry]) -> None:
    found = explain(identified(entries))
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
    found = timeline(identified(entries))
    attempts = {span.attempt for span in found.spans} | {moment.attempt for moment in found.moments}
    assert attempts == {entry.event.attempt for entry in entries}
    assert all(span.start <= span.end for span in found.spans)


def test_no_events_explain_nothing() -> None:
    assert explain([]) is None
    assert timeline([]) == ([], [])


def test_the_earliest_of_two_ends_wins_and_the_reason_says_so() -> None:
    entries = entries_of({"type": "failed"}, {"type": "cancelled"})
    found = explain(identified(entries))
    assert found is not None
    assert (found.type, found.reason) == ("failed", "it is the earliest end of its rank")
    (superseded,) = found.superseded
    assert (superseded.rule, superseded.reason) == (
        "entry_id",
        "of ends of one rank the earliest wins: 1-0, not 2-0",
    )


AFTER_END = (
    "2 events of attempt 1 arrived after its end (failed, entry 1-0), and did not change the"
    ' status. A job that runs again needs the next attempt: attempt="next" in the SDK, or'
    ' "attempt": 2 in its events.'
)
AFTER_ATTEMPT = (
    "1 event of attempt 1 arrived after attempt 3 had begun (entry 2-0), and did not change the"
    " status. Check whether a worker still runs attempt 1, and stop it."
)


@pytest.mark.parametrize(
    ("events", "notes"),
    [
        ([{"type": "processing"}, {"type": "progress"}, {"type": "done"}], []),
        ([{"type": "failed"}, {"type": "done"}], []),  # `done` ranks above `failed`
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
    found = explain(identified(entries_of(*events)))
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
    found = timeline(identified(entries))
    shown = [
        (span.name, span.start.timestamp() * 1000, span.end.timestamp() * 1000)
        for span in found.spans
    ]
    assert shown == [("a", 2, 4), ("b", 4, 5)]
    assert [moment.type for moment in found.moments] == ["processing", "done", "failed"]


def test_event_that_was_appended_again__it_counts_once() -> None:
    done = entries_of({"type": "done", "event_id": "e"}, {"type": "done", "event_id": "e"})
    found = explain(identified(done, (0, 1)))
    assert found is not None
    assert (found.superseded, found.late) == ([], [])
    assert (str(found.entry_id), found.reason) == ("1-0", "it is the only event")
    assert [str(each.entry_id) for each in timeline(identified(done, (0, 1))).moments] == ["1-0"]
    progress = entries_of({"type": "progress", "step": "a"}, {"type": "progress", "step": "a"})
    found = explain(identified(progress, (0, 1)))
    assert found is not None
    assert (found.superseded, str(found.entry_id)) == ([], "2-0")  # of progress the latest wins


def test_progress_that_was_appended_again_after_the_end__it_is_no_late_event() -> None:
    entries = entries_of(
        {"type": "progress", "step": "a"}, {"type": "done"}, {"type": "progress", "step": "a"}
    )
    found = explain(identified(entries, (0, 2)))
    assert found is not None
    assert found.late == []
    assert [(each.type, each.after_end) for each in found.superseded] == [("progress", False)]
    assert [span.after_end for span in timeline(identified(entries, (0, 2))).spans] == [False]


def test_two_events_with_one_event_id__the_second_is_late() -> None:
    entries = entries_of(
        {"type": "failed", "event_id": "e"}, {"type": "failed", "event_id": "e", "error": "other"}
    )
    found = explain(identified(entries))
    assert found is not None
    assert [each.events for each in found.late] == [1]


def test_late_events_of_an_attempt_before_the_highest__advice_is_to_stop_its_worker() -> None:
    entries = entries_of(
        {"type": "failed"}, {"type": "progress"}, {"type": "processing", "attempt": 2}
    )
    found = explain(identified(entries), complete=False)
    assert found is not None
    (late,) = found.late
    assert late.note == (
        "At least 1 event of attempt 1 arrived after its end (failed, entry 1-0), and did not "
        "change the status. Check whether a worker still runs attempt 1, and stop it."
    )

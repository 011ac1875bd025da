from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from projections.decoding import Entry, decode
from projections.documents import Documents, read_documents, write_documents
from projections.fold import _WON, RANKS, fold, fold_all
from projections.state import JobState, OmittedResult
from streams.entry_ids import EntryId
from streams.keys import JobKey
from streams.kinds import JOB, KINDS, VIDEO, Kind, State
from tests.support.oracle import expected_state
from tests.support.plain_documents import plain_documents
from tests.support.strategies import TYPES, deliveries, json_objects, logs
from tests.support.thorough import examples

KEYS = {kind: JobKey("42", kind, "a1") for kind in KINDS}

any_log = st.sampled_from(sorted(KINDS)).flatmap(lambda kind: logs(KEYS[kind]))
long_log = st.sampled_from(sorted(KINDS)).flatmap(lambda kind: logs(KEYS[kind], max_size=20))
long_delivery = long_log.flatmap(lambda log: st.tuples(st.just(log), deliveries(log)))
any_delivery = any_log.flatmap(lambda log: st.tuples(st.just(log), deliveries(log)))


def told(entries: Iterable[Entry]) -> list[tuple[EntryId, Any]]:
    return [(entry.entry_id, entry.event) for entry in entries]


def state_of(batches: Iterable[Sequence[Entry]]) -> JobState:
    state: JobState | None = None
    for batch in batches:
        state = fold_all(state, told(batch))
    assert state is not None
    return state


def kind_of(entries: Sequence[Entry]) -> Kind:
    return KINDS[entries[0].event.kind]


def event(position: str, type_: str, **fields: Any) -> Entry:
    raw = json.dumps({"type": type_, "id": "a1", **fields}).encode()
    return decode("42", EntryId.parse(position), [b"event", raw])


def fold_in_every_order(*entries: Entry) -> JobState:
    """Fold forwards and backwards, in one batch and one by one; all must agree."""
    orders = [list(entries), list(reversed(entries))]
    states = [state_of([order]) for order in orders]
    states += [state_of([entry] for entry in order) for order in orders]
    assert all(state == states[0] for state in states)
    return states[0]


@given(any_delivery)
@settings(deadline=None, max_examples=examples(120))
def test_fold__any_order_duplication_and_regrouping__same_state(
    delivered: tuple[list[Entry], list[list[Entry]]],
) -> None:
    log, batches = delivered
    state = state_of(batches)
    assert state == state_of([log])
    assert write_documents(kind_of(log), state) == write_documents(kind_of(log), state_of([log]))


def one_by_one(state: JobState | None, entries: Iterable[Entry]) -> JobState | None:
    """Fold as `fold` defines it."""
    for entry in entries:
        state = fold(state, entry.event, entry.entry_id)
    return state


@given(long_delivery, st.data())
@settings(deadline=None, max_examples=examples(150))
def test_fold_all__any_order_and_any_split_into_a_stored_state_and_a_rest__as_one_by_one(
    delivered: tuple[list[Entry], list[list[Entry]]], data: st.DataObject
) -> None:
    """The fast way equals the plain one, to the type of each number and the order of each key."""
    entries = [entry for batch in delivered[1] for entry in batch]
    cut = data.draw(st.integers(0, len(entries)))
    stored = one_by_one(None, entries[:cut])
    plain = one_by_one(stored, entries[cut:])
    assert repr(fold_all(stored, told(entries[cut:]))) == repr(plain)
    assert repr(fold_all(fold_all(None, told(entries[:cut])), told(entries[cut:]))) == repr(plain)


@given(long_delivery)
@settings(deadline=None, max_examples=examples(80))
def test_fold_all__nothing_new_or_nothing_at_all__the_stored_state(
    delivered: tuple[list[Entry], list[list[Entry]]],
) -> None:
    log, _ = delivered
    state = one_by_one(None, log)
    assert fold_all(state, told(log)) == state
    assert fold_all(state, []) is state
    assert fold_all(None, []) is None


@given(any_log)
@settings(deadline=None, max_examples=examples(120))
def test_fold__any_log__agrees_with_the_contract_read_as_a_sort(log: list[Entry]) -> None:
    state, expected = state_of([log]), expected_state(log)
    assert state == expected
    assert write_documents(kind_of(log), state) == write_documents(kind_of(log), expected)


@given(any_log, st.sampled_from([0, 30, 10_000]))
@settings(deadline=None, max_examples=examples(150))
def test_documents__any_state__the_bytes_of_the_plain_way(log: list[Entry], limit: int) -> None:
    kind, state = kind_of(log), state_of([log])
    for each in (state, read_documents(kind, write_documents(kind, state, limit))):
        assert write_documents(kind, each, limit) == plain_documents(kind, each, limit)


@pytest.mark.parametrize(
    "at", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "2026-01-01T00:00:00.000001Z"]
)
def test_documents__any_time__the_bytes_of_the_plain_way(at: str) -> None:
    state = state_of([[event("1-0", "processing", at=at)]])
    assert write_documents(JOB, state) == plain_documents(JOB, state, 10_000)
    assert at.encode() in write_documents(JOB, state).status


def test_documents__many_kept__take_little_more_than_their_own_bytes() -> None:
    """The serializer alone leaves each small document in a block of 4 KiB."""
    kept = 20_000
    script = f"""
import psutil
from projections.documents import write_documents
from projections.fold import fold
from projections.decoding import decode
from streams.entry_ids import EntryId
from streams.kinds import JOB

raw = b'{{"type":"progress","id":"a1","percent":5}}'
state = fold(None, decode("42", EntryId(1, 0), [b"event", raw]).event, EntryId(1, 0))
used = psutil.Process().memory_info().rss
documents = [write_documents(JOB, state) for _ in range({kept})]
print(psutil.Process().memory_info().rss - used)
print(sum(len(each.status) + len(each.progress) for each in documents))
"""
    words = [sys.executable, "-c", script]
    used, held = map(int, subprocess.run(words, check=True, capture_output=True).stdout.split())
    assert used < held + kept * 500


@given(any_log, st.sampled_from([0, 30, 10_000]))
@settings(deadline=None, max_examples=examples(80))
def test_documents__read_and_written_again__byte_equal(log: list[Entry], limit: int) -> None:
    kind = kind_of(log)
    documents = write_documents(kind, state_of([log]), limit)
    assert write_documents(kind, read_documents(kind, documents), limit) == documents


@given(any_delivery, st.sampled_from([0, 30, 10_000]))
@settings(deadline=None, max_examples=examples(80))
def test_documents__folding_goes_on_from_them__as_from_the_state(
    delivered: tuple[list[Entry], list[list[Entry]]], limit: int
) -> None:
    """Nothing that the fold needs is lost between two batches."""
    log, batches = delivered
    kind = kind_of(log)
    documents: Documents | None = None
    for batch in batches:
        before = documents and read_documents(kind, documents)
        state = fold_all(before, told(batch))
        assert state is not None
        documents = write_documents(kind, state, limit)
    assert documents == write_documents(kind, state_of([log]), limit)


@given(any_log)
@settings(deadline=None, max_examples=examples(50))
def test_documents__any_state__plain_json_with_the_contracts_fields(log: list[Entry]) -> None:
    kind = kind_of(log)
    documents = write_documents(kind, state_of([log]))
    status = json.loads(documents.status)
    own = {
        "job": {"status", "job_type", "error_message", "result"},
        "video": {"status", "hls_path", "duration", "error_reason"},
    }
    assert own[kind.name] | {"attempt", "updated_at"} <= status.keys()
    assert status["status"] in kind.words.values()
    if documents.progress:
        progress = json.loads(documents.progress)
        assert progress["step_name"] == progress["step"]
        assert all(
            progress[name] is None or 0 <= progress[name] <= 100
            for name in ("percent", "step_percent")
        )


@given(extra=json_objects)
@settings(deadline=None)
def test_documents__extra_with_keys_of_its_own_and_of_ours__ours_stand(
    extra: dict[str, Any],
) -> None:
    state = state_of([[event("1-0", "progress", step="parsing", percent=5, extra=extra)]])
    progress = json.loads(write_documents(JOB, state).progress or b"")
    assert (progress["step"], progress["step_name"], progress["percent"]) == ("parsing",) * 2 + (5,)
    ours = progress.keys() & {"step_index", "step_total", "step_percent", "remaining_seconds"}
    assert all(progress[name] is None for name in ours)


def test_ranks__every_type__in_the_contracts_order() -> None:
    assert set(RANKS) == set(TYPES)
    assert RANKS["queued"] < RANKS["processing"] == RANKS["progress"]
    assert RANKS["progress"] < RANKS["failed"] == RANKS["cancelled"] < RANKS["done"]


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_done_beats_failed_within_an_attempt(end: str) -> None:
    for first, second in (("1-0", "2-0"), ("2-0", "1-0")):
        state = fold_in_every_order(event(first, end), event(second, "done", result={"rows": 3}))
        assert (state.state, state.result, state.error) == (State.DONE, {"rows": 3}, None)


@pytest.mark.parametrize("later", TYPES)
def test_nothing_leaves_done(later: str) -> None:
    state = fold_in_every_order(event("1-0", "done", result={"rows": 3}), event("2-0", later))
    assert (state.state, state.result) == (State.DONE, {"rows": 3})


@pytest.mark.parametrize("end", ["done", "failed", "cancelled"])
@pytest.mark.parametrize("again", TYPES)
def test_higher_attempt_reopens_the_job_whatever_the_lower_ones_end_was(
    end: str, again: str
) -> None:
    state = fold_in_every_order(
        event("5-0", "progress", percent=90),
        event("9-0", end, result={"rows": 1}, error="e", reason="r", code="c"),
        event("1-0", again, attempt=2),
    )
    assert (state.attempt, state.entry_id) == (2, EntryId(1, 0))
    assert state.result in (None, {})
    assert (state.error, state.code) == (None, None)
    assert state.progress is None or state.progress.fields["percent"] is None


@pytest.mark.parametrize("end", ["done", "failed", "cancelled"])
def test_earliest_of_two_ends_of_one_rank_stands(end: str) -> None:
    first, second = event("9-0", end, worker="first"), event("10-0", end, worker="second")
    assert fold_in_every_order(first, second).worker == "first"


def test_earliest_of_failed_and_cancelled_stands() -> None:
    failed, cancelled = event("9-0", "failed", error="e"), event("10-0", "cancelled", reason="r")
    assert fold_in_every_order(failed, cancelled).state is State.FAILED
    late = event("11-0", "failed", error="e")
    state = fold_in_every_order(late, cancelled)
    assert (state.state, state.error) == (State.CANCELLED, "r")


def test_entry_ids_order_as_two_integers_never_as_text() -> None:
    state = fold_in_every_order(
        event("9-0", "progress", percent=9),
        event("10-0", "progress", percent=10),
        event("10-9", "progress", percent=19),
        event("10-10", "progress", percent=20),
    )
    assert state.progress is not None
    assert (state.entry_id, state.progress.fields["percent"]) == (EntryId(10, 10), 20)
    assert state.created.entry_id == EntryId(9, 0)


@pytest.mark.parametrize("late_type", ["queued", "processing", "progress"])
def test_late_event_adds_what_only_it_knows_and_takes_nothing_away(late_type: str) -> None:
    end = event("9-0", "done", at="2026-01-01T00:00:00Z", labels={"class": "3B"}, worker="w")
    late = event(
        "8-0", late_type, job_type="excel", labels={"school": "x", "class": "old"}, worker="other"
    )
    state = fold_in_every_order(end, late)
    assert state.job_type is not None
    assert state.job_type.value == "excel"
    assert {name: told.value for name, told in state.labels.items()} == {
        "class": "3B",
        "school": "x",
    }
    assert (state.started is not None) == (late_type != "queued")
    assert (state.state, state.worker) == (State.DONE, "w")
    assert state.updated_at == datetime(2026, 1, 1, tzinfo=UTC)
    bare = fold_in_every_order(end, late, event("10-0", late_type))
    assert (bare.job_type, bare.labels, bare.started) == (
        state.job_type,
        state.labels,
        state.started,
    )


def test_started_is_the_winning_attempts_earliest_sign_of_work() -> None:
    log = [
        event("1-0", "processing"),
        event("2-0", "queued", attempt=2),
        event("3-0", "progress", attempt=2),
        event("4-0", "processing", attempt=2),
    ]
    started = fold_in_every_order(*log).started
    assert started is not None
    assert started.entry_id == EntryId(3, 0)
    assert fold_in_every_order(*log[:2]).started is None


def test_word_of_the_higher_attempt_stands_over_a_later_one_of_a_lower() -> None:
    state = fold_in_every_order(
        event("1-0", "queued", attempt=2, job_type="new", labels={"a": "new"}),
        event("9-0", "progress", attempt=1, job_type="old", labels={"a": "old", "b": "old"}),
    )
    assert state.job_type is not None
    assert state.job_type.value == "new"
    assert {name: told.value for name, told in state.labels.items()} == {"a": "new", "b": "old"}


@pytest.mark.parametrize(
    ("given_percent", "shown"),
    [(-1, "0"), (-1e300, "0"), (100.5, "100"), (1e300, "100"), (10.0, "10"), (0.5, "0.5")],
)
def test_percent_is_clamped_and_a_whole_one_stays_whole(given_percent: float, shown: str) -> None:
    state = fold_in_every_order(
        event("1-0", "progress", percent=given_percent, step_percent=given_percent)
    )
    progress = write_documents(JOB, state).progress
    assert progress is not None
    assert f'"percent":{shown},' in progress.decode()
    assert f'"step_percent":{shown},' in progress.decode()


def test_progress_is_that_of_the_winning_attempt_only() -> None:
    old = event("9-0", "progress", attempt=1, step="old", percent=90)
    new = event("1-0", "processing", attempt=2)
    assert fold_in_every_order(old, new).progress is None
    progress = fold_in_every_order(old, new, event("2-0", "progress", attempt=2)).progress
    assert progress is not None
    assert (progress.entry_id, progress.fields["step"]) == (EntryId(2, 0), None)


def test_progress_is_the_latest_entry_as_a_whole() -> None:
    """A field that the latest progress leaves out is not filled from an older one."""
    progress = fold_in_every_order(
        event("1-0", "progress", step="parsing", percent=10, extra={"rows": 1}),
        event("2-0", "progress", step_index=2),
    ).progress
    assert progress is not None
    assert {name for name, value in progress.fields.items() if value is not None} == {"step_index"}
    assert "rows" not in progress.fields


def test_labels_are_at_most_sixteen_whatever_the_order() -> None:
    many = [event(f"{n}-0", "queued", labels={f"n{n:02}": str(n)}) for n in range(1, 40)]
    assert sorted(fold_in_every_order(*many).labels) == [f"n{n:02}" for n in range(1, 17)]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (JOB, ["PENDING", "PROCESSING", "PROCESSING", "DONE", "FAILED", "CANCELLED"]),
        (VIDEO, ["UPLOADED", "PROCESSING", "PROCESSING", "READY", "FAILED", "CANCELLED"]),
    ],
)
def test_status_says_each_state_in_its_kinds_word(kind: Kind, words: list[str]) -> None:
    said = [
        json.loads(write_documents(kind, state_of([[event("1-0", type_)]])).status)["status"]
        for type_ in TYPES
    ]
    assert said == words


def test_video_document_has_its_result_beside_the_status() -> None:
    state = state_of([[event("1-0", "done", result={"hls_path": "p/x.m3u8", "duration": 1.5})]])
    status = json.loads(write_documents(VIDEO, state).status)
    assert (status["hls_path"], status["duration"]) == ("p/x.m3u8", 1.5)
    assert status["error_reason"] is None
    assert "result" not in status


def test_result_omitted_from_a_document_is_known_to_be_omitted() -> None:
    state = state_of([[event("1-0", "done", result={"x": "y" * 100})]])
    documents = write_documents(JOB, state, 100)
    assert read_documents(JOB, documents).result == OmittedResult(108)


def test_whole_numbers_of_any_size_survive() -> None:
    result = {"rows": 10**40, "small": -(2**64)}
    raw = json.dumps({"type": "done", "id": "a1", "result": result}).encode()
    state = state_of([[decode("42", EntryId(1, 0), [b"event", raw])]])
    documents = write_documents(JOB, state)
    assert json.loads(documents.status)["result"] == result
    assert read_documents(JOB, documents).result == result


def test_number_beyond_a_double_beside_a_big_integer_is_still_projected() -> None:
    """1e400 is JSON, though no double: it must not stop a job's documents from being written."""
    raw = b'{"type":"done","id":"a1","result":{"x":1e400,"y":%d}}' % 10**40
    state = state_of([[decode("42", EntryId(1, 0), [b"event", raw])]])
    assert json.loads(write_documents(JOB, state).status)["result"] == {"x": None, "y": 10**40}


def test_the_winners_facts_are_the_first_fields_of_a_state() -> None:
    assert JobState._fields[_WON - 1 : _WON + 1] == ("code", "created")

from __future__ import annotations

from collections.abc import Mapping

from projections.decoding import decode
from projections.reading.explain import IdentifiedEvent
from projections.reading.failures import last_failure
from streams.entry_ids import EntryId
from streams.events import dump_json

RAW = "OSError: /srv/app/rows.csv"


def found_in(*events: Mapping[str, object]) -> tuple[int, str | None, str | None] | None:
    entries = [
        decode("42", EntryId(n + 1, 0), [b"event", dump_json({"id": "a1", **event})])
        for n, event in enumerate(events)
    ]
    found = last_failure(IdentifiedEvent(entry.entry_id, entry.event) for entry in entries)
    return found and (found.attempt, found.code, found.text)


def test_a_retry_that_waits_tells_why_the_attempt_before_has_failed() -> None:
    assert found_in(
        {"type": "processing"}, {"type": "queued", "attempt": 2, "operator_detail": RAW}
    ) == (1, None, RAW)


def test_the_highest_attempt_that_failed_counts() -> None:
    first = {"type": "failed", "error": "no rows", "code": "empty"}
    assert found_in(first, {"type": "queued", "attempt": 2}) == (1, "empty", "no rows")
    second = {"type": "failed", "attempt": 2, "error": "Try later.", "operator_detail": RAW}
    assert found_in(second, first) == (2, None, RAW)


def test_a_job_that_has_not_failed_has_no_failure() -> None:
    assert found_in({"type": "queued", "operator_detail": RAW}, {"type": "done"}) is None


def test_an_operators_text_of_another_type_refuses_no_event() -> None:
    for value in (5, None, ["x"], {"x": 1}):
        assert found_in({"type": "failed", "operator_detail": value}) == (1, None, None)

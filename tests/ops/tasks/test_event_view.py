"""Entries of a stream as `jobtrail tail` shows them, and the filters that choose some."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from ops.errors import WrongArgument
from ops.tasks.events.event_view import describe, filter_of, json_of
from ops.tasks.events.stream_tail import RawEntry
from streams.entry_ids import EntryId


@pytest.fixture
def in_seoul(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Asia/Seoul")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def entry(ms: int = 1_795_732_580_226, **event: Any) -> RawEntry:
    return RawEntry(EntryId(ms, 0), json.dumps(event).encode())


def shown(one: RawEntry) -> str:
    return "".join(span.text for span in describe(one)[0])


@pytest.mark.usefixtures("in_seoul")
def test_progress__has_the_local_time_then_step_and_percent_before_all_else() -> None:
    steps: dict[str, Any] = {
        "step": "hls",
        "step_index": 4,
        "step_total": 7,
        "step_name_display": "인코딩",
    }
    event = entry(type="progress", id="7", kind="video", worker="w", percent=70, **steps)
    assert shown(event) == (
        "2026-11-27 07:36:20.226 KST  progress    video:7  hls 70% 4/7 인코딩  attempt=1  worker=w"
    )


def test_end__has_the_error_before_all_else() -> None:
    event = entry(type="failed", id="a1", job_type="omr", error="no paper", code="x")
    assert "job:a1  error=no paper  code=x  attempt=1  job_type=omr" in shown(event)


def test_numbers_of_any_size__are_shown() -> None:
    assert f'result={{"n":{2**70}}}' in shown(entry(type="done", id="a1", result={"n": 2**70}))
    assert f'extra={{"n":{2**70}}}' in shown(entry(type="progress", id="a1", extra={"n": 2**70}))


def test_step_without_a_total_or_an_index__is_shown() -> None:
    assert "a1  0/?" in shown(entry(type="progress", id="a1", step_index=0))
    assert "a1  ?/7" in shown(entry(type="progress", id="a1", step_total=7))


@pytest.mark.parametrize(("ms", "year"), [(0, "1970"), (2**63, "9999")])
def test_entry_that_is_no_event_or_of_another_age__is_shown(ms: int, year: str) -> None:
    assert shown(entry(ms, type="paused", id="a1")).startswith(year)
    assert "not an event: unknown_type" in shown(entry(ms, type="paused", id="a1"))


@pytest.mark.parametrize(
    ("options", "taken"),
    [
        ({}, {"a1", "7", "8", "?"}),
        ({"kinds": ["video"]}, {"7", "8"}),
        ({"ids": ["a1", "8"]}, {"a1", "8"}),
        ({"types": ["progress"]}, {"a1"}),
        ({"states": ["processing"]}, {"a1", "8"}),
        ({"states": ["READY"]}, {"7"}),
        ({"states": ["done", "processing"], "kinds": ["video"]}, {"7", "8"}),
    ],
)
def test_filter(options: dict[str, list[str]], taken: set[str]) -> None:
    events = [
        entry(type="progress", id="a1"),
        entry(type="done", id="7", kind="video"),
        entry(type="processing", id="8", kind="video"),
        entry(type="paused", id="?"),
    ]
    chosen = filter_of(**{**dict.fromkeys(("kinds", "ids", "types", "states"), ()), **options})
    assert {json.loads(each.raw)["id"] for each in events if chosen.takes(each)} == taken


@pytest.mark.parametrize("option", ["kinds", "types", "states"])
def test_filter__unknown_value__is_named_with_the_known_ones(option: str) -> None:
    values: dict[str, Any] = dict.fromkeys(("kinds", "ids", "types", "states"), ())
    with pytest.raises(WrongArgument, match=r"'films' is none of .*,"):
        filter_of(**{**values, option: ["films"]})


@pytest.mark.parametrize(
    ("raw", "event"),
    [
        (
            b'{"type":"done","n":12345678901234567890123}',
            {"type": "done", "n": 12345678901234567890123},
        ),
        (b"[1]", [1]),
        (b'{"percent":NaN}', '{"percent":NaN}'),
        (b"\xff", "\ufffd"),
    ],
)
def test_json__event_is_an_object_where_it_is_json(raw: bytes, event: object) -> None:
    assert json_of(RawEntry(EntryId(5, 1), raw)) == {"entry_id": "5-1", "event": event}

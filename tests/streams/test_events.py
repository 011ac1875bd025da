from __future__ import annotations

import json
from datetime import UTC, datetime, timezone
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from projections.decoding import decode, happened_at
from streams.entry_ids import EntryId
from streams.events import (
    MAX_EVENT_BYTES,
    Done,
    Failed,
    InvalidEvent,
    Progress,
    dump_json,
    encode_fields,
    load_json,
    parse_event,
)
from tests.support.strategies import TYPES, event_fields, json_values
from tests.support.thorough import examples

REASONS = {"not_json", "too_large", "unsupported_version", "unknown_type", "invalid_event"}


def parsed(type_: str = "progress", /, **fields: Any) -> Any:
    return parse_event(json.dumps({"type": type_, "id": "a1", **fields}).encode())


def refusal(raw: bytes) -> InvalidEvent:
    with pytest.raises(InvalidEvent) as raised:
        parse_event(raw)
    return raised.value


def refused(type_: str = "progress", /, **fields: Any) -> InvalidEvent:
    return refusal(json.dumps({"type": type_, "id": "a1", **fields}).encode())


def bytes_of(value: object) -> int:
    return len(json.dumps(value, separators=(",", ":")).encode())


def test_smallest_event_is_complete_and_valid() -> None:
    event = parse_event(b'{"type":"done","id":"a1"}')
    assert isinstance(event, Done)
    assert (event.v, event.kind, event.attempt, event.event_id, event.at) == (
        1,
        "job",
        1,
        None,
        None,
    )


@pytest.mark.parametrize(
    ("field", "good"),
    [
        ("id", "a"),
        ("id", "0"),
        ("id", "a" * 128),
        ("id", "A._:-9"),
        ("kind", "video"),
        ("attempt", 1),
        ("attempt", 2**53),
        ("event_id", "x"),
        ("event_id", "x" * 200),
        ("labels", {}),
        ("labels", {f"n{n}": "" for n in range(16)}),
        ("labels", {"n" * 64: "v" * 256}),
        ("worker", "w" * 200),
        ("job_type", "한" * 200),
        ("traceparent", "t" * 200),
        ("step", "s" * 200),
        ("percent", -1),
        ("percent", 1e300),
        ("percent", 10**400),
        ("step_index", 0),
        ("step_total", 2**53),
        ("step_percent", 0.5),
        ("remaining_seconds", 0),
        ("remaining_seconds", 2**53),
        ("extra", {}),
        ("at", "2026-01-01T00:00:00Z"),
        ("at", "2026-01-01T00:00:00.123456789+09:00"),
        ("at", "0001-01-01T00:00:00+09:00"),
        ("at", "9999-12-31T23:59:59-09:00"),
    ],
)
def test_field_at_the_edge_of_its_form_is_taken(field: str, good: object) -> None:
    assert parsed(**{field: good}) is not None


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        ("id", ""),
        ("id", "a" * 129),
        ("id", ".a"),
        ("id", "-a"),
        ("id", "a b"),
        ("id", "a\n"),
        ("id", "á"),
        ("id", 5),
        ("kind", "jobs"),
        ("kind", "video\n"),
        ("kind", None),
        ("attempt", 0),
        ("attempt", -1),
        ("attempt", 1.5),
        ("attempt", "1"),
        ("attempt", True),
        ("attempt", 2**53 + 1),
        ("event_id", ""),
        ("event_id", "x" * 201),
        ("event_id", 7),
        ("labels", {f"n{n}": "" for n in range(17)}),
        ("labels", {"": "v"}),
        ("labels", {"n" * 65: "v"}),
        ("labels", {"n": "v" * 257}),
        ("labels", {"n": 1}),
        ("labels", ["n"]),
        ("worker", "w" * 201),
        ("job_type", "t" * 201),
        ("traceparent", "t" * 201),
        ("step", "s" * 201),
        ("step", 3),
        ("percent", "10"),
        ("percent", True),
        ("step_index", -1),
        ("step_index", 1.0),
        ("remaining_seconds", -0.1),
        ("extra", []),
        ("extra", "text"),
        ("at", "2026-01-01T00:00:00"),
        ("at", "2026-01-01"),
        ("at", "yesterday"),
        ("at", 1_767_225_600),
        ("v", 0),
        ("v", "1"),
        ("v", True),
        ("v", None),
    ],
)
def test_field_beyond_its_form_is_refused_by_name(field: str, bad: object) -> None:
    error = refused(**{field: bad})
    assert error.reason == "invalid_event"
    assert field in error.detail


@pytest.mark.parametrize(("size", "good"), [(8_192, True), (8_193, False)])
def test_extra_is_at_most_eight_kib_as_json(size: int, good: bool) -> None:  # noqa: FBT001
    extra = {"pad": "한"}
    extra["pad"] += "x" * (size - len(dump_json(extra)))
    assert len(dump_json(extra)) == size
    if good:
        assert parsed(extra=extra).extra == extra
    else:
        assert "extra" in refused(extra=extra).detail


@pytest.mark.parametrize(("type_", "field"), [("failed", "error"), ("cancelled", "reason")])
def test_text_is_cut_to_two_thousand_characters(type_: str, field: str) -> None:
    assert getattr(parsed(type_, **{field: "한" * 2_000}), field) == "한" * 2_000
    assert getattr(parsed(type_, **{field: "한" * 2_001}), field) == "한" * 2_000


@pytest.mark.parametrize("type_", TYPES)
def test_field_of_another_type_or_unknown_is_ignored(type_: str) -> None:
    fields = {"percent": "bad", "result": 3, "error": [], "code": {}, "reason": 1, "zz": {"a": 1}}
    own = {"progress": ["percent"], "done": ["result"], "failed": ["error", "code"]}
    foreign = {k: v for k, v in fields.items() if k not in [*own.get(type_, []), "reason"]}
    assert parsed(type_, **foreign) == parsed(type_)


@pytest.mark.parametrize(
    "rest",
    [
        {},
        {"type": "paused"},
        {"type": None},
        {"id": ""},
        {"id": ["a", "b"]},
        {"percent": "much"},
        {"labels": [["a", "b"]]},
    ],
)
def test_newer_version_is_unsupported_whatever_else_differs(rest: dict[str, Any]) -> None:
    error = refusal(json.dumps({"type": "progress", "id": "a1", **rest, "v": 2}).encode())
    assert error.reason == "unsupported_version"
    assert "2" in error.detail


@pytest.mark.parametrize("type_", ["paused", "", "DONE", None, 5, ["done"], {"done": 1}])
def test_type_that_is_none_of_ours_is_unknown(type_: object) -> None:
    error = refusal(json.dumps({"type": type_, "id": "a1"}).encode())
    assert error.reason == "unknown_type"
    assert all(known in error.detail for known in TYPES)


def test_missing_type_is_unknown_and_missing_id_is_named() -> None:
    assert refusal(b'{"id":"a1"}').reason == "unknown_type"
    assert "id" in refusal(b'{"type":"done"}').detail


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"done",
        b'{"type":"done","id":"a1"',
        b'{"type":"done","id":"a1"} {}',
        b"{'type':'done','id':'a1'}",
        b'{"type":"done","id":"a1",}',
        b'\xef\xbb\xbf{"type":"done","id":"a1"}',
        '{"type":"done","id":"a1"}'.encode("utf-16"),
        b'{"type":"done","id":"a1","worker":"\xff"}',
        b'{"type":"done","id":"a1","worker":"\xed\xa0\x80"}',
        b'{"type":"done","id":"a1","worker":"\x00"}',
        b'{"type":"progress","id":"a1","percent":NaN}',
        b'{"type":"progress","id":"a1","percent":Infinity}',
        b'{"type":"progress","id":"a1","extra":{"x":NaN}}',
        b'{"type":"done","id":"a1","result":{"x":NaN}}',
        b'{"type":"done","id":"a1","result":{"x":-Infinity}}',
        b'{"type":"done","id":"a1","unknown":Infinity}',
        b'{"type":"done","id":"a1","result":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001,
        b'{"type":"done","id":"a1","result":' + b"[" * 100_000,
        b"[" * 100_000,
    ],
)
def test_bytes_that_are_no_json_are_refused_as_such(raw: bytes) -> None:
    error = refusal(raw)
    assert error.reason == "not_json"
    assert "\n" not in str(error)


LEAP_SECONDS = {
    "2016-12-31T23:59:60Z": "2017-01-01T00:00:00+00:00",
    "2016-12-31t23:59:60z": "2017-01-01T00:00:00+00:00",
    "2016-12-31T23:59:60.25+00:00": "2017-01-01T00:00:00.250000+00:00",
    "2017-01-01T08:59:60+09:00": "2017-01-01T09:00:00+09:00",
    "2017-01-01T05:29:60.123456789+05:30": "2017-01-01T05:30:00.123456+05:30",
    "9999-12-31T23:59:60Z": "9999-12-31T23:59:59+00:00",
}


@pytest.mark.parametrize(("at", "read_as"), LEAP_SECONDS.items())
def test_at_in_a_leap_second_is_the_next_minutes_first(at: str, read_as: str) -> None:
    assert parsed("done", at=at, result={"n": 2**70}).at == datetime.fromisoformat(read_as)


@pytest.mark.parametrize(
    "at", ["2016-12-31T23:59:61Z", "2016-13-31T23:59:60Z", "2016-12-31T24:59:60Z", "23:59:60"]
)
def test_at_that_is_no_time_is_refused_with_its_field(at: str) -> None:
    assert "at" in refused(at=at).detail


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_text_that_names_no_number_is_text(word: str) -> None:
    event = parsed("done", result={word: [word, 10**40]}, worker=word)
    assert (event.worker, event.result) == (word, {word: [word, 10**40]})


@pytest.mark.parametrize("raw", [b"[]", b"null", b"5", b'"text"', b'[{"type":"done","id":"a1"}]'])
def test_json_that_is_no_object_is_invalid(raw: bytes) -> None:
    assert refusal(raw).reason == "invalid_event"


def test_of_a_key_given_twice_the_last_stands() -> None:
    event = parse_event(
        b'{"type":"queued","id":"a","id":"b","type":"done","v":2,"v":1,"result":{}}'
    )
    assert isinstance(event, Done)
    assert event.id == "b"


def test_event_at_the_limit_is_taken_and_one_byte_more_is_not() -> None:
    head, tail = b'{"type":"done","id":"a1","result":{"x":"', b'"}}'
    full = head + b"x" * (MAX_EVENT_BYTES - len(head + tail)) + tail
    assert isinstance(parse_event(full), Done)
    assert refusal(full + b" ").reason == "too_large"
    assert str(MAX_EVENT_BYTES) in refusal(full + b" ").detail
    assert isinstance(parse_event(full + b" ", MAX_EVENT_BYTES + 1), Done)


@pytest.mark.parametrize("name", ["a\nb", "a\r\nb\u2028c", "x" * 100_000, "done"])
def test_message_is_one_short_line_whatever_the_producer_called_things(name: str) -> None:
    message = str(refused(labels={name: 5}))
    assert len(message.splitlines()) == 1
    assert len(message) < 1_000


def is_taken_or_plainly_refused(raw: bytes) -> bool:
    try:
        parse_event(raw)
    except InvalidEvent as error:
        return is_plain(error)
    return True


def is_plain(error: InvalidEvent) -> bool:
    return (
        error.reason in REASONS
        and len(str(error).splitlines()) == 1
        and str(error).startswith(error.reason)
    )


@given(st.binary(max_size=60))
@settings(deadline=None, max_examples=examples(200))
def test_any_bytes_are_an_event_or_invalid_and_nothing_else(raw: bytes) -> None:
    assert is_taken_or_plainly_refused(raw)


fuzzed_fields = st.dictionaries(
    st.sampled_from([*Progress.model_fields, *Done.model_fields, *Failed.model_fields, "reason"]),
    json_values,
    max_size=6,
)


@given(st.sampled_from(TYPES), fuzzed_fields)
@settings(deadline=None, max_examples=examples(300))
@example("queued", {"labels": {"a\nb": 1}})
@example("progress", {"extra": {"x": 10**30}, "v": 10**30})
def test_any_json_is_an_event_or_invalid_and_nothing_else(
    type_: str, fields: dict[str, Any]
) -> None:
    for candidate in (fields, {"type": type_, "id": "a1"} | fields, [fields]):
        assert is_taken_or_plainly_refused(json.dumps(candidate).encode())


@given(event_fields("job", "a1"))
@settings(deadline=None, max_examples=examples(100))
def test_valid_fields_survive_writing_and_reading(fields: dict[str, Any]) -> None:
    raw = json.dumps(fields).encode()
    assert parse_event(encode_fields(fields)) == parse_event(raw)


@given(json_values)
@settings(deadline=None)
def test_json_written_and_read_is_the_same(value: object) -> None:
    assert load_json(dump_json(value)) == value
    assert dump_json(load_json(dump_json(value))) == dump_json(value)
    assert b"\n" not in dump_json(value)


@pytest.mark.parametrize("value", [float("inf"), float("nan"), {"x": [float("inf"), 10**30]}])
def test_json_has_no_number_beyond_a_double_so_null_is_written(value: object) -> None:
    assert b"null" in dump_json(value)
    assert load_json(dump_json(value)) is not None or value != {}


def test_encode_fields__none__is_left_out_at_the_top_only() -> None:
    raw = encode_fields({"type": "done", "id": "a1", "worker": None, "result": {"x": None}})
    assert json.loads(raw) == {"type": "done", "id": "a1", "result": {"x": None}}


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


def circular() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["a"] = value
    return value


@pytest.mark.parametrize(
    "result",
    [object(), {1, 2}, "\ud800", {"\udcff": 1}, nested(5_000), circular(), b"bytes"],
    ids=["object", "set", "surrogate", "surrogate key", "deep", "circular", "bytes"],
)
def test_encode_fields__what_json_cannot_hold__is_refused(result: object) -> None:
    with pytest.raises(InvalidEvent, match=r"^not_json: .*$") as raised:
        encode_fields({"type": "done", "id": "a1", "result": result})
    assert len(str(raised.value)) < 1_000


def test_nul_is_replaced_and_an_escaped_backslash_before_u0000_is_not() -> None:
    event = parse_event(rb'{"type":"done","id":"a1","worker":"\u0000|\\u0000|\\\u0000"}')
    assert event.worker == "\ufffd|\\u0000|\\\ufffd"


@pytest.mark.parametrize(
    ("escaped", "read"),
    [
        (rb"\udcb0", "\ufffd"),
        (rb"\uD83D\uDE00\uD83D|\uDE00", "😀\ufffd|\ufffd"),
        (rb"\ud83d\ud83d\ude00", "\ufffd😀"),
        (rb"\udcb0\\udcb0\u0000", "\ufffd\\udcb0\ufffd"),
    ],
)
def test_half_of_a_surrogate_pair_is_replaced_and_a_pair_is_not(escaped: bytes, read: str) -> None:
    """Python's `json.dumps` writes half pairs for file names in another encoding."""
    event = parse_event(b'{"type":"done","id":"a1","worker":"%b"}' % escaped)
    assert event.worker == read


def test_events_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        parsed("done").id = "b"


def test_time_of_an_event_is_its_own_or_its_entrys_in_utc() -> None:
    position = EntryId(1_767_225_600_123, 4)
    assert happened_at(parsed(), position) == datetime(2026, 1, 1, 0, 0, 0, 123_000, UTC)
    own = happened_at(parsed(at="2026-01-01T09:00:00.5+09:00"), position)
    assert (own, own.tzinfo) == (datetime(2026, 1, 1, 0, 0, 0, 500_000, UTC), UTC)


@pytest.mark.parametrize("offset", ["Z", "+00:00", "+09:00", "-03:30"])
def test_at_keeps_its_offset_in_a_zone_of_the_standard_library(offset: str) -> None:
    at = parsed(at=f"2026-01-01T09:00:00.5{offset}").at
    assert at is not None
    assert at.isoformat() == f"2026-01-01T09:00:00.500000{offset.replace('Z', '+00:00')}"
    assert type(at.tzinfo) is timezone


def test_decode__entry_with_more_fields__reads_event() -> None:
    raw = b'{"type":"done","id":"a1"}'
    for fields in ([b"event", raw], [b"x", b"y", b"event", raw], [b"event", raw, b"x", b"y"]):
        entry = decode("42", EntryId(5, 6), fields)
        assert (entry.raw, entry.event_id, entry.job) == (raw, "5-6", ("42", "job", "a1"))


def test_decode__no_event_field__is_said() -> None:
    with pytest.raises(InvalidEvent, match="no_event_field"):
        decode("42", EntryId(5, 6), [b"data", b'{"type":"done","id":"a1"}'])


@pytest.mark.parametrize("tenant", ["", "a b", "x" * 65, "42\n", "a:b"])
def test_decode__log_of_no_valid_tenant__is_said_in_one_line(tenant: str) -> None:
    with pytest.raises(InvalidEvent, match="invalid_tenant") as raised:
        decode(tenant, EntryId(5, 6), [b"event", b'{"type":"done","id":"a1"}'])
    assert len(str(raised.value).splitlines()) == 1

"""Whatever bytes there are, the fast decoder has the judge's verdict, values and reasons."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from projections.decoding import (
    DecodedEvent,
    Entry,
    decode,
    decode_each,
    decode_entries,
    decode_event,
    decode_events,
    happened_at,
)
from streams.entries import event_bytes
from streams.entry_ids import EntryId, of_replies
from streams.events import Event, InvalidEvent, dump_json, parse_event
from streams.kinds import KINDS
from tests.support.strategies import TYPES, event_fields, json_values
from tests.support.thorough import examples

POSITION = EntryId(1_767_225_600_123, 4)
Verdict = tuple[Any, ...]


def said(event: DecodedEvent | Event, names: Sequence[str]) -> Verdict:
    """Everything that an event says; JSON objects by their bytes, numbers by their form."""
    fields = tuple((name, _shown(getattr(event, name))) for name in names)
    return ("taken", event.type, _moment(event), *fields)


def _moment(event: DecodedEvent | Event) -> str | None:
    """When it happened; the first and last days there are have no time in UTC."""
    if event.at is None:
        return None
    return str((event.at - datetime(2000, 1, 1, tzinfo=UTC)).total_seconds())


def _shown(value: object) -> object:
    return dump_json(value) if isinstance(value, dict) else (type(value).__name__, str(value))


def judged(raw: bytes, max_bytes: int = 2**20) -> Verdict:
    try:
        event = parse_event(raw, max_bytes)
    except InvalidEvent as error:
        return "refused", error.reason, error.detail
    return said(event, [name for name in type(event).model_fields if name not in ("type", "at")])


def decoded(raw: bytes, max_bytes: int = 2**20) -> Verdict:
    try:
        event = decode_event(raw, max_bytes)
    except InvalidEvent as error:
        return "refused", error.reason, error.detail
    return read(event)


def read(event: DecodedEvent) -> Verdict:
    model = type(parse_event(b'{"type":"%b","id":"a"}' % event.type.encode()))
    return said(event, [name for name in model.model_fields if name not in ("type", "at")])


def same(raw: bytes, max_bytes: int = 2**20) -> None:
    assert decoded(raw, max_bytes) == judged(raw, max_bytes), raw


def plain(rest: str = "", type_: str = "progress") -> bytes:
    return f'{{"type":"{type_}","id":"a1"{rest and ","}{rest}}}'.encode(errors="surrogatepass")


WORDS = [
    *(f'"{field}":' for field in "v kind id attempt event_id at labels worker percent".split()),
    *(f'"{field}":' for field in "type step_index remaining_seconds extra result error".split()),
    *(f'"{name}"' for name in (*TYPES, *KINDS, "paused", "a1", "a1\\n", "", "x" * 201)),
    *("0 -0 1 1.0 1e0 -1 2 9007199254740992 9007199254740993 1e400 1e15 01 1. .5 +1 - 1e".split()),
    *('true false null NaN Infinity -Infinity tru nul {} [] { } [ ] , : "'.split()),
    *(r'"\u0000" "\ud800" "\udc00\ud800" "\ud83d\ude00" "\u002e" "\x" "\\u0000" "\u00e9"'.split()),
    *('"2026-01-01T00:00:00Z" "2026-01-01T23:59:60Z" "2026-01-01 00:00:00z"'.split('" "')),
    '"2026-01-01T00:00:00.1234567Z"',
    '"2026-01-01T00:00:00.123456789+09:00"',
    '"2026-01-01T00:00:00.123456\\u0037Z"',
    '"2026-01-01T00:00:00+0900"',
    '"2026-01-01T00:00:00-00:00"',
    '"9999-12-31T23:59:59-09:00"',
    '"0001-01-01T00:00:00+09:00"',
    '"1767225600"',
    "\ufeff",
    " \n\t\r",
    "\x00",
    "\x7f",
    "한",
    "1" * 4_301,
    "[" * 201 + "]" * 201,
    '{"a":' * 199 + "1" + "}" * 199,
    '{"a":1,"a":2}',
    '{"n":"1","n":"2"}',
    json.dumps({f"n{number}": "" for number in range(17)}),
    "[" + ",".join(["1e15"] * 700) + "]",
]
TOKENS = [word.encode() for word in WORDS] + [
    b"\xff",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
]


FIELDS = "type v kind id attempt event_id at labels worker percent step_index extra zz".split()


@pytest.mark.parametrize("field", FIELDS)
def test_odd_value_has_the_judges_verdict(field: str) -> None:
    for value in WORDS:
        for type_ in TYPES:
            same(plain(f'"{field}":{value}', type_))


@pytest.mark.parametrize(
    "rest",
    [
        '"extra":{"a":1,"b":2,"a":3}',
        '"labels":{"b":"1","a":"2","b":"3"}',
        '"percent":"x","percent":5',
        '"percent":5,"percent":"x"',
        '"at":null,"labels":null,"extra":null,"percent":null,"event_id":null',
        '"remaining_seconds":9007199254740993',
    ],
)
def test_repeated_or_empty_field_has_the_judges_verdict(rest: str) -> None:
    same(plain(rest))


@pytest.mark.parametrize(("type_", "field"), [("failed", "error"), ("cancelled", "reason")])
@pytest.mark.parametrize("length", [2_000, 2_001])
def test_long_text_has_the_judges_verdict(type_: str, field: str, length: int) -> None:
    same(plain(f'"{field}":"{"한" * length}"', type_))


@pytest.mark.parametrize("size", [8_192, 8_193])
@pytest.mark.parametrize("text", ["x", "한", "\n", "\x01"])
def test_size_of_extra_has_the_judges_verdict(size: int, text: str) -> None:
    count = (size - len(dump_json({"pad": ""}))) // len(dump_json(text)[1:-1])
    for number in (count - 1, count, count + 1):
        same(plain('"extra":' + json.dumps({"pad": text * number}, ensure_ascii=False)))


@pytest.mark.parametrize("limit", [0, 24, 25, 26, 2**20])
def test_longest_event_has_the_judges_verdict(limit: int) -> None:
    same(b'{"type":"done","id":"a1"}', limit)


def test_every_form_has_the_fields_of_its_model() -> None:
    for type_ in TYPES:
        event, model = decode_event(plain(type_=type_)), parse_event(plain(type_=type_))
        assert set(event.__struct_fields__) | {"type"} == set(type(model).model_fields)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid event with some bytes replaced by tokens that matter, or by any."""
    fields = draw(st.sampled_from(list(KINDS)).flatmap(lambda kind: event_fields(kind, "a1")))
    raw = json.dumps(fields, ensure_ascii=draw(st.booleans())).encode()
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(raw)))
        end = start + draw(st.integers(0, 12))
        raw = raw[:start] + draw(st.sampled_from(TOKENS) | st.binary(max_size=3)) + raw[end:]
    return raw


@given(mutated())
@settings(deadline=None, max_examples=examples(300))
def test_mutated_event_has_the_judges_verdict(raw: bytes) -> None:
    same(raw)


@given(st.dictionaries(st.sampled_from(["v", "at", "labels", "extra", "zz", "id"]), json_values))
@settings(deadline=None, max_examples=examples(200))
def test_any_json_in_a_field_has_the_judges_verdict(fields: dict[str, Any]) -> None:
    for type_ in ("progress", "done"):
        same(json.dumps({"type": type_, "id": "a1"} | fields).encode())


def corpus() -> list[bytes]:
    extra = {"rows": [1, 2.5, None, True, "한"], "deep": {"a": {"b": []}}}
    common = {"kind": "video", "attempt": 2, "event_id": "e-1", "labels": {"a": "b", "c": "한"}}
    own: dict[str, dict[str, Any]] = {
        "progress": {"step": "s", "percent": 33.3, "step_index": 1, "extra": extra},
        "done": {"result": {"hls_path": "x", "duration": 12.5, "n": 2**70}},
        "failed": {"error": "it broke\n\u00e9", "code": "E1"},
        "cancelled": {"reason": "😀"},
    }
    at = {"at": "2026-01-01T00:00:00.123456+09:00", "worker": "w", "zz": extra}
    return [
        json.dumps(
            {"type": type_, "id": "a1"} | own.get(type_, {}) | more, ensure_ascii=ascii_
        ).encode()
        for type_ in TYPES
        for more in ({}, common, common | at)
        for ascii_ in (True, False)
    ]


def disturbed(raw: bytes, chance: random.Random) -> bytes:
    """Some bytes exchanged, removed, repeated or put in place of others."""
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        start = chance.randrange(len(raw) + 1)
        end = start + chance.choice((0, 0, 1, 1, 2, 5, 20))
        put = chance.choice((b"", chance.choice(TOKENS), raw[start:end] * 2, chance.randbytes(1)))
        raw = raw[:start] + put + raw[end:]
    return raw


def test_many_thousand_disturbed_events_have_the_judges_verdict() -> None:
    seeds, chance = corpus(), random.Random(29)
    taken, tried = 0, examples(20_000)
    for number in range(tried):
        raw = disturbed(seeds[number % len(seeds)], chance)
        same(raw)
        taken += judged(raw)[0] == "taken"
    assert tried / 10 < taken < tried * 9 / 10, "it is of use where some are taken and some refused"


@given(st.lists(st.sampled_from(corpus()) | mutated(), max_size=6))
@settings(deadline=None, max_examples=examples(200))
def test_many_together_are_read_as_each_alone(raws: list[bytes]) -> None:
    verdicts = [judged(raw) for raw in raws]
    refused = [verdict for verdict in verdicts if verdict[0] == "refused"]
    assert together(raws) == (refused[0] if refused else verdicts)


def together(raws: list[bytes]) -> Verdict | list[Verdict]:
    try:
        return [read(event) for event in decode_events(raws)]
    except InvalidEvent as error:
        return "refused", error.reason, error.detail


GOOD = b'{"type":"done","id":"a1"}'
Row = tuple[str, bytes, list[bytes]]
ROWS: list[Row] = [
    ("t1", b"5-6", [b"event", GOOD]),
    ("t2", b"9223372036854775807-9223372036854775807", [b"x", b"y", b"event", GOOD]),
    ("t1", b"9223372036854775808-0", [b"event", GOOD]),
    ("t1", b"0-18446744073709551615", [b"event", GOOD]),
    ("t\n", b"5-7", [b"event", GOOD]),
    ("t1", b"5-8", [b"data", GOOD]),
    ("t1", b"5-9", [b"event", b"{"]),
    ("t1", b"5-10", [b"event", plain('"worker":"\\u0000"')]),
]


def alone(row: Row) -> Entry | tuple[str, str]:
    tenant, raw_id, fields = row
    try:
        entry_id = EntryId.parse(raw_id)
        parse_event(event_bytes(tenant, entry_id, fields))
        return decode(tenant, entry_id, fields)
    except InvalidEvent as error:
        return error.reason, error.detail


@given(st.lists(st.sampled_from(ROWS[:2]) | st.sampled_from(ROWS), max_size=5))
@settings(deadline=None)
def test_entries_together_are_read_as_each_alone(rows: list[Row]) -> None:
    expected = [alone(row) for row in rows]
    refused = [each for each in expected if not isinstance(each, Entry)]
    columns = [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]
    assert [_reason(each) for each in decode_each(*columns)] == expected
    try:
        entries: object = decode_entries(*columns)
    except InvalidEvent as error:
        entries = _reason(error)
    assert entries == (refused[0] if refused else expected)


def _reason(each: Entry | InvalidEvent) -> Entry | tuple[str, str]:
    return (each.reason, each.detail) if isinstance(each, InvalidEvent) else each


@given(st.lists(st.builds(EntryId, st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))))
def test_ids_together_are_read_as_each_alone(ids: list[EntryId]) -> None:
    assert of_replies([str(entry_id).encode() for entry_id in ids]) == ids


def test_time_in_utc_stays_the_same_object() -> None:
    event = decode_event(plain('"at":"2026-01-01T00:00:00Z"'))
    assert event.at is not None
    assert happened_at(event, POSITION) is event.at
    assert event.at.tzinfo is UTC

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.entry_ids import FIRST, EntryId, of_reply, range_after
from streams.wire import ask

parts = st.integers(0, 2**64 - 1) | st.sampled_from([0, 1, 9, 10, 99, 100])
ids = st.builds(EntryId, parts, parts)


@given(ids)
@settings(deadline=None)
def test_written_and_read_is_the_same(entry_id: EntryId) -> None:
    assert EntryId.parse(str(entry_id)) == entry_id
    assert EntryId.parse(str(entry_id).encode()) == entry_id
    assert of_reply(str(entry_id).encode()) == entry_id


@given(ids, ids)
@settings(deadline=None)
def test_order_is_that_of_two_integers(one: EntryId, other: EntryId) -> None:
    assert (one < other) == ((one.ms, one.seq) < (other.ms, other.seq))


def test_range_after__any_id__is_what_follows_it(redis_client: redis.Redis) -> None:
    given = ["0-1", "5-18446744073709551615", "18446744073709551615-18446744073709551615"]
    for text in given:
        redis_client.xadd("log", {"event": ""}, id=text)
    for number, text in enumerate(given, start=1):
        start, end = range_after(EntryId.parse(text))
        found = ask(redis_client, "XRANGE", "log", start, end)
        assert [str(of_reply(entry_id)) for entry_id, _ in found] == given[number:]
    assert range_after(FIRST, "7-0") == ("(0-0", "7-0")


def test_nine_is_before_ten() -> None:
    texts = ["10-0", "9-10", "9-9", "100-0", "9-0"]
    assert [str(each) for each in sorted(map(EntryId.parse, texts))] == [
        "9-0",
        "9-9",
        "9-10",
        "10-0",
        "100-0",
    ]


def test_bare_milliseconds_are_their_first_position() -> None:
    assert EntryId.parse("17") == EntryId(17, 0)
    assert EntryId.parse("17-") == EntryId(17, 0)
    assert EntryId.parse("0-0") == FIRST


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "-1",
        "a",
        "1-a",
        "1-2-3",
        "1.5",
        "+1-0",
        "1 -0",
        "١-٠",
        "²",
        f"{2**64}-0",
        f"0-{2**64}",
        "*",
        "$",
    ],
)
def test_what_is_no_entry_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="entry id"):
        EntryId.parse(text)


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(ValueError, match="ascii"):
        EntryId.parse(b"\xff-0")


@given(st.integers(0, 7_258_118_400_000))
@settings(deadline=None)
def test_time_is_exact_to_the_millisecond_until_the_year_2200(ms: int) -> None:
    moment = EntryId(ms, 7).time
    assert moment == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
    assert moment.tzinfo is UTC


@given(st.integers(2**48, 2**64 - 1))
@settings(deadline=None)
def test_time_beyond_the_calendar_is_its_last_moment(ms: int) -> None:
    assert EntryId(ms, 0).time.year == 9999

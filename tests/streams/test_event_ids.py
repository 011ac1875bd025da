from __future__ import annotations

import time
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.event_ids import new_event_id, time_of


def test_new_event_id_is_a_uuid7_of_now() -> None:
    before = time.time_ns() // 1_000_000
    texts = [new_event_id() for _ in range(1_000)]
    after = time.time_ns() // 1_000_000
    assert len(set(texts)) == 1_000
    for text in texts:
        parsed = uuid.UUID(text)
        assert (parsed.version, parsed.variant, str(parsed)) == (7, uuid.RFC_4122, text)
        made = time_of(text)
        assert made == parsed.int >> 80
        assert made is not None
        assert before <= made <= after


@pytest.mark.parametrize(
    "text",
    [
        "",
        "order-5-done",
        "711c9dfc-f807-4826-af2a-6570e65384d7",
        "edc7a7f4-e70a-11f1-a230-02fc00000001",
        "0" * 36,
        "zzzzzzzz-zzzz-7zzz-8zzz-zzzzzzzzzzzz",
        "01a2073098897021afebb7e3d32e2dc4",
        "01a20730-9889-72ec-aa15-9122d331ff2c0",
    ],
)
def test_what_is_no_uuid7_tells_no_time(text: str) -> None:
    assert time_of(text) is None


@given(st.text("0123456789abcdef_-+ 7", min_size=36, max_size=36) | st.text(max_size=40))
@settings(deadline=None)
def test_any_text_tells_a_time_or_none(text: str) -> None:
    """An event id is chosen by the producer: no text of it makes an entry fail."""
    assert time_of(text) is None or len(text) == 36


@pytest.mark.parametrize(
    "text",
    [
        "01234567-890_-7abc-8abc-0123456789ab",
        "0_1_2_3_-4567-7abc-8abc-0123456789ab",
        "-1234567-8901-7abc-8abc-0123456789ab",
        "0x234567-8901-7abc-8abc-0123456789ab",
        " 1234567-8901-7abc-8abc-0123456789ab",
    ],
)
def test_text_in_the_form_of_a_uuid7_never_fails(text: str) -> None:
    made = time_of(text)
    assert made is None or abs(made) < 2**48

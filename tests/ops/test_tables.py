"""Tables and facts fit into the width of a terminal, and no word is broken."""

from __future__ import annotations

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.text.plurals import age, counted
from ops.text.tables import Span, columns_of, cut, fact_lines, table_lines, wrapped

WORDS = st.text(st.sampled_from("ab한 "), min_size=1, max_size=30).map(lambda text: text.strip())
HEADERS = ["tenant", "rejected", "reason"]


def texts(lines: list[list[Span]]) -> list[str]:
    return ["".join(span.text for span in line) for line in lines]


def table(rows: list[list[str]], width: int | None, note: str | None = None) -> list[str]:
    cells = [[Span(text) for text in row] for row in rows]
    return texts(list(table_lines(HEADERS, cells, width, note)))


@given(st.lists(st.lists(WORDS, min_size=3, max_size=3), min_size=1, max_size=4))
def test_table__any_width__breaks_no_word_and_loses_none(rows: list[list[str]]) -> None:
    words = [word for cell in chain.from_iterable(rows) for word in cell.split()]
    for width in (None, 20, 40, 80):
        lines = table(rows, width)
        shown = " ".join(lines).split()
        assert all(word in shown for word in words)
        longest = max(map(columns_of, [*words, *HEADERS]))
        if width is not None:
            assert max(map(columns_of, lines)) <= max(width, longest + 10, 30)


def test_table__without_a_width__is_one_line_a_row() -> None:
    rows = [["42", "2026-11-26 22:36:20 UTC", "type must be one of queued, processing" * 9]]
    assert len(table(rows, None)) == 2


def test_table__note__is_below_its_row_or_the_last_column() -> None:
    rows = [["1", "yesterday", "unknown_type", "type must be one of queued, processing, progress"]]
    below = table(rows, 40, "detail")
    assert below[1].split() == ["1", "yesterday", "unknown_type"]
    assert below[2:] == ["    type must be one of queued,", "    processing, progress"]
    beside = table(rows, None, "detail")
    assert beside[0].endswith("detail")
    assert beside[1].endswith("progress")


def test_table__too_narrow__shows_each_row_as_a_block() -> None:
    lines = table([["1", "2026-11-26", "unknown_type"], ["2", "2026-11-27", "too_large"]], 25)
    assert lines[0].split() == ["tenant", "1"]
    assert lines[3] == ""


def test_facts__long_value__is_wrapped_beside_its_name() -> None:
    lines = texts(list(fact_lines([("error", Span("a word " * 8)), ("한글", Span("x"))], 30)))
    assert lines[0].startswith("error  a word")
    assert lines[1].startswith("       ")
    assert lines[-1] == "한글   x"
    assert max(map(columns_of, lines)) <= 30


@pytest.mark.parametrize(
    ("width", "left"), [(20, "one 한글 two"), (9, "one 한글…"), (8, "one 한…"), (3, "on…")]
)
def test_cut__wide_characters__count_twice(width: int, left: str) -> None:
    assert texts([cut([Span("one "), Span("한글 two")], width)]) == [left]


def test_wrapped__longer_word__has_a_line_of_its_own() -> None:
    assert wrapped("a https://example.org/x b", 10) == ["a", "https://example.org/x", "b"]


def test_plurals_and_ages() -> None:
    numbers = [counted(number, "entry", "entries") for number in (0, 1, 2)]
    assert numbers == ["0 entries", "1 entry", "2 entries"]
    assert [age(seconds) for seconds in (0, 3.21, 300, 90_000, 900_000)] == [
        *("0.0 s", "3.2 s", "5 min", "25 h", "10 days")
    ]


@pytest.mark.parametrize("texts", [["abcd", "x"], ["abc", "d", "e"], ["가나", "x"], ["", "abcde"]])
def test_cut_spans_are_never_wider_than_the_width(texts: list[str]) -> None:
    line = "".join(span.text for span in cut([Span(text) for text in texts], 4))
    assert line.endswith("…")
    assert columns_of(line) <= 4


def test_spans_that_fill_the_width_are_not_cut() -> None:
    spans = [Span("ab"), Span("cd"), Span("")]
    assert cut(spans, 4) == spans

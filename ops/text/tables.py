"""Layout of tables and of names with values, as lines of a given width.

Words are never broken: a column is at least as wide as its longest word. A table that does not fit
in the width shows each row as a block, one value a line. Without a width (output that is no
terminal) each row is one line. Used by `ops.commands`, `ops.printing` and `ops.tasks`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

GAP = 2
"""Spaces between columns."""
INDENT = 4
"""Spaces before the lines of a note."""
SHORTEST = 20
"""Columns that a value beside its name has at least; words are not wrapped in fewer."""


class Span(NamedTuple):
    """A piece of text in one colour."""

    text: str
    colour: str | None = None
    is_number: bool = False
    """True for a cell that is on the right of its column."""


Cells = Sequence[Span]
Line = list[Span]


def table_lines(
    headers: Sequence[str], rows: Sequence[Cells], width: int | None, note: str | None = None
) -> Iterator[Line]:
    """Yield the lines of a table; the first line has the headers.

    With `note`, the name of the last cell of each row, that cell is on lines of its own below the
    row; without a width it is the last column.
    """
    below = note is not None and width is not None
    names = [*headers] if note is None or below else [*headers, note]
    head, *groups = _groups(names, [row[:-1] if below else row for row in rows], width)
    yield from head
    for row, lines in zip(rows, groups, strict=True):
        yield from lines
        if below:
            yield from _note_lines(row[-1], width or 0)


def fact_lines(facts: Sequence[tuple[str, Span]], width: int | None) -> Iterator[Line]:
    """Yield names and values, one pair per line; values are wrapped beside the names."""
    longest = max((columns_of(name) for name, _ in facts), default=0) + GAP
    room = None if width is None else max(width - longest, SHORTEST)
    for name, value in facts:
        first, *more = [line for text in value.text.split("\n") for line in wrapped(text, room)]
        yield [Span(_padded(name, longest), "dim"), value._replace(text=first)]
        yield from ([Span(" " * longest), value._replace(text=text)] for text in more)


def wrapped(text: str, width: int | None) -> list[str]:
    """Return the text as lines of at most this width; a longer word has a line of its own."""
    if width is None or columns_of(text) <= width:
        return [text]
    lines, line = list[str](), ""
    for word in text.split(" "):
        longer = f"{line} {word}" if line else word
        if line and columns_of(longer) > width:
            lines.append(line)
            line = word
        else:
            line = longer
    return [*lines, line]


def cut(spans: Iterable[Span], width: int) -> Line:
    """Return the spans that fit in the width, the last one with an ellipsis if text is left out."""
    given = list(spans)
    if sum(columns_of(span.text) for span in given) <= width:
        return given
    kept, room = list[Span](), width - 1
    for span in given:
        size = columns_of(span.text)
        if size > room:
            kept.append(span._replace(text=f"{_head(span.text, room)}…"))
            break
        kept.append(span)
        room -= size
    return kept


def columns_of(text: str) -> int:
    """Return the columns of a terminal that a text takes."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _head(text: str, width: int) -> str:
    end, room = 0, width
    while end < len(text) and _columns(text[end]) <= room:
        room -= _columns(text[end])
        end += 1
    return text[:end]


def _padded(text: str, width: int, *, right: bool = False) -> str:
    blank = " " * max(0, width - columns_of(text))
    return blank + text if right else text + blank


def _fitting(columns: Sequence[Sequence[str]], width: int | None) -> list[int] | None:
    """Return widths with which the columns fit, or None if there are none."""
    widths = [max(map(columns_of, each)) for each in columns]
    if width is None:
        return widths
    words = [_longest_word(each) for each in columns]
    room = width - GAP * (len(columns) - 1)
    while sum(widths) > room:
        spare = [full - word for full, word in zip(widths, words, strict=True)]
        widest = max(range(len(widths)), key=lambda at: (spare[at] > 0, widths[at]))
        if spare[widest] <= 0:
            return None
        widths[widest] -= 1
    return widths


def _longest_word(texts: Iterable[str]) -> int:
    return max((columns_of(word) for text in texts for word in text.split()), default=0)


def _row_lines(row: Cells, widths: Sequence[int], right: Sequence[bool]) -> Iterator[Line]:
    cells = [wrapped(each.text, size) for each, size in zip(row, widths, strict=True)]
    for number in range(max(map(len, cells))):
        line = [
            span._replace(
                text=_padded(texts[number] if number < len(texts) else "", size, right=to_right)
            )
            for span, texts, size, to_right in zip(row, cells, widths, right, strict=True)
        ]
        yield _joined(line, " " * GAP)


def _joined(line: Line, gap: str) -> Line:
    """Return the cells with gaps between them and without blanks at the end."""
    while line and not line[-1].text.strip():
        line.pop()
    if line:
        line[-1] = line[-1]._replace(text=line[-1].text.rstrip())
    gapped = chain.from_iterable((Span(gap), each) for each in line)
    return list(gapped)[1:]


def _groups(names: Sequence[str], rows: Sequence[Cells], width: int | None) -> Iterator[list[Line]]:
    """Yield the lines of the headers and of each row."""
    columns = [[name, *(row[at].text for row in rows)] for at, name in enumerate(names)]
    widths = _fitting(columns, width)
    if widths is None:
        yield []
        for number, row in enumerate(rows):
            block = fact_lines([*zip(names, row, strict=True)], width)
            yield [[], *block] if number else [*block]
        return
    right = [any(row[at].is_number for row in rows) for at in range(len(names))]
    head = [Span(name, "bold") for name in names]
    yield from (list(_row_lines(row, widths, right)) for row in (head, *rows))


def _note_lines(note: Span, width: int) -> Iterator[Line]:
    if note.text:
        for text in wrapped(note.text, max(width - INDENT, SHORTEST)):
            yield [Span(" " * INDENT), note._replace(text=text)]

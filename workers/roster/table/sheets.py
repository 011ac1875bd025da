"""The table of students in a workbook: the first visible sheet with a header and rows below it.

If no sheet has rows, it is the first one with a header. Used by `workers.roster.reader_process`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from workers.roster.errors import RosterError
from workers.roster.table.header_row import (
    HEADER_WITHIN,
    NEEDED,
    SAMPLE_ROWS,
    Header,
    Row,
    find_header,
)
from workers.roster.table.heading_words import field_of
from workers.roster.xlsx.cells import FromAbove, Uncalculated, clean
from workers.roster.xlsx.merges import MergedDown
from workers.roster.xlsx.workbook import SheetRows, Texts, Workbook
from workers.roster.xlsx.worksheet import Merge

NAME_LENGTH = 40
"""The length to which a sheet's name is cut; the format allows 31, but files exceed it."""

_NOTE = re.compile(
    r"[※*#▶▷●○◎■□◆◇★☆→⇒·•<\[(-]|비고|참고|합계|총계|(notes?|total)\b"
    # 문 and 주 are family names: 문의현 is a name, and 문의처 is not.
    r"|(주의|문의)(?:(?:사항|처|란|점|요망|전화)$|(?![가-힣]{1,2}$))",
    re.IGNORECASE,
)
"""The beginning of the text of a note."""


class TextRow(NamedTuple):
    """A row below the header: its number in the spreadsheet, and its texts by field."""

    number: int
    texts: dict[str, str]


class Table(NamedTuple):
    """The table: the sheet's name, the number of its last row, and its rows, read on iteration."""

    sheet: str
    last_row: int
    rows: Iterator[TextRow]


def open_table(workbook: Workbook) -> Table:
    """Return the table of a workbook that `xlsx.package.inspect` found safe to read.

    Raises:
        RosterError: no visible sheet has a header row, formulas have no values, or the file is
            damaged. Iterating `rows` raises it, too.
    """
    empty: Table | None = None
    uncalculated = False
    for sheet in workbook.visible():
        top = _top(sheet)
        header = find_header(top, [merge for merge in sheet.merges if merge.top <= HEADER_WITHIN])
        if header is None:
            uncalculated = uncalculated or any(map(_has_uncalculated, top))
            continue
        table = Table(clean(sheet.name)[:NAME_LENGTH], sheet.last_row, _rows(sheet, header))
        if _has_rows(sheet, header):
            return table
        empty = empty or table
    # Before an empty table, which may be a template: the other sheet may have the students.
    if uncalculated:
        raise _uncalculated_error()
    if empty:
        return empty
    raise RosterError(
        f"no visible sheet has a header with the columns 이름 and 학부모 전화번호 (name, parent "
        f"phone) in its first {HEADER_WITHIN} rows",
        code="no_header",
    )


def _top(sheet: SheetRows) -> list[Row]:
    """Return the first `HEADER_WITHIN` rows, and `SAMPLE_ROWS` more, to choose columns by."""
    top: list[Row] = []
    below = 0
    for number, texts in sheet:
        below += number > HEADER_WITHIN
        if below > SAMPLE_ROWS:
            break
        top.append(Row(number, texts))
    return top


def _has_rows(sheet: SheetRows, header: Header) -> bool:
    return next(_read(sheet, header), None) is not None


def _rows(sheet: SheetRows, header: Header) -> Iterator[TextRow]:
    """Yield the rows; raise if the value of a formula is missing."""
    for row in _read(sheet, header):
        if any(isinstance(text, Uncalculated) for text in row.texts.values()):
            raise _uncalculated_error()
        yield row


def _read(sheet: SheetRows, header: Header) -> Iterator[TextRow]:
    """Yield the rows with data, without blank rows, notes and repeated headers."""
    wide_cells = _wide_cells(sheet.merges, header)
    merged = MergedDown(sheet.merges, below=header.number, columns=header.columns.values())
    field_by_column = {index: field for field, index in header.columns.items()}
    for number, texts in sheet:
        if number <= header.number:
            continue
        own, from_above = merged.of(number, texts)
        found = _by_field(own, field_by_column)
        shared = _by_field(from_above, field_by_column)
        # A row that shares the name or the phone of the row above is a student's, as of a sibling.
        is_note = shared.keys().isdisjoint(NEEDED) and _is_note(number, own, wide_cells)
        if not found or is_note or _is_header(texts, found, header):
            continue
        if "name" in shared:
            shared["name"] = FromAbove(shared["name"])
        yield TextRow(number, found | shared)


def _by_field(texts: Texts, field_by_column: Mapping[int, str]) -> dict[str, str]:
    return {
        field_by_column[index]: text for index, text in texts.items() if index in field_by_column
    }


def _wide_cells(merges: Iterable[Merge], header: Header) -> frozenset[tuple[int, int]]:
    """Return the row and the column of the first cell of each range over several columns.

    Ranges over the same columns as a heading are left out: the table is laid out that way.
    """
    as_headings = {
        (merge.left, merge.right) for merge in merges if merge.top <= header.number <= merge.bottom
    }
    return frozenset(
        (merge.top, merge.left)
        for merge in merges
        if merge.right > merge.left and (merge.left, merge.right) not in as_headings
    )


def _is_note(number: int, texts: Texts, wide_cells: frozenset[tuple[int, int]]) -> bool:
    """Return True if a row is a note: a single cell, merged over columns or marked as a note."""
    if len(texts) != 1:
        return False
    [(index, text)] = texts.items()
    return _NOTE.match(text) is not None or (number, index) in wide_cells


def _is_header(texts: Texts, found: dict[str, str], header: Header) -> bool:
    """Return True if a row repeats the headings, in the same words or in others."""
    if texts in header.rows:
        return True
    words = [found.get(field, "") for field in NEEDED]
    # A text that ends with a digit is a phone number and no heading.
    return not words[1][-1:].isdecimal() and [field_of(word) for word in words] == list(NEEDED)


def _has_uncalculated(row: Row) -> bool:
    return any(isinstance(text, Uncalculated) for text in row.texts.values())


def _uncalculated_error() -> RosterError:
    return RosterError(
        "holds formulas that were never calculated: open it in a spreadsheet program, save it, "
        "then import it",
        code="formulas",
    )

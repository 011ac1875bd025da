"""The table of students in a workbook: the first visible sheet with a header and rows.

Used by `workers.roster.reader_process`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
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

NAME_LENGTH = 40
"""Characters of a sheet's name that are reported; the limit of the format is 31."""

_NOTE = re.compile(
    r"[※*#▶▷●○◎■□◆◇★☆→⇒·•<\[(-]|비고|참고|주의|문의|합계|총계|(notes?|total)\b", re.IGNORECASE
)


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
    """Return the table of a workbook that was inspected (`xlsx.package`).

    Raises:
        RosterError: no visible sheet has a header row, or the file is damaged.
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
        if _first(sheet, header):
            return table
        empty = empty or table
    if empty:
        return empty
    if uncalculated:
        raise _uncalculated_error()
    raise RosterError(
        f"no visible sheet has a header with the columns 이름 and 학부모 전화번호 (name, parent "
        f"phone) in its first {HEADER_WITHIN} rows",
        code="no_header",
    )


def _top(sheet: SheetRows) -> list[Row]:
    """Return the rows that may be the header, and enough rows below to choose columns."""
    top: list[Row] = []
    below = 0
    for number, texts in sheet:
        below += number > HEADER_WITHIN
        if below > SAMPLE_ROWS:
            break
        top.append(Row(number, texts))
    return top


def _first(sheet: SheetRows, header: Header) -> TextRow | None:
    return next(_read(sheet, header), None)


def _rows(sheet: SheetRows, header: Header) -> Iterator[TextRow]:
    """Yield the rows; raise if the value of a formula is missing."""
    for row in _read(sheet, header):
        if any(isinstance(text, Uncalculated) for text in row.texts.values()):
            raise _uncalculated_error()
        yield row


def _read(sheet: SheetRows, header: Header) -> Iterator[TextRow]:
    """Yield the rows with data, without blank rows, notes and repeated headers."""
    wide = {(merge.top, merge.left) for merge in sheet.merges if merge.right > merge.left}
    merged = MergedDown(sheet.merges, below=header.number, columns=header.columns.values())
    fields = {index: field for field, index in header.columns.items()}
    for number, texts in sheet:
        if number <= header.number:
            continue
        own, shared = merged.of(number, texts)
        found = {fields[index]: text for index, text in own.items() if index in fields}
        if not found or _is_note(number, own, wide) or _is_header(texts, found, header):
            continue
        merged_in = {fields[index]: text for index, text in shared.items()}
        if "name" in merged_in:
            merged_in["name"] = FromAbove(merged_in["name"])
        yield TextRow(number, found | merged_in)


def _is_note(number: int, texts: Texts, wide: set[tuple[int, int]]) -> bool:
    """Return True if a row is a note: a single cell, merged over columns or marked as a note."""
    if len(texts) != 1:
        return False
    [(index, text)] = texts.items()
    return _NOTE.match(text) is not None or (number, index) in wide


def _is_header(texts: Texts, found: dict[str, str], header: Header) -> bool:
    """Return True if a row repeats the headings, in the same words or in others."""
    if texts in header.rows:
        return True
    words = [found.get(field, "") for field in NEEDED]
    return not words[1][-1:].isdecimal() and [field_of(word) for word in words] == list(NEEDED)


def _has_uncalculated(row: Row) -> bool:
    return any(isinstance(text, Uncalculated) for text in row.texts.values())


def _uncalculated_error() -> RosterError:
    return RosterError(
        "holds formulas that were never calculated: open it in a spreadsheet program, save it, "
        "then import it",
        code="formulas",
    )

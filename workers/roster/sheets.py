"""Finding the roster in a workbook: the first visible sheet with a header, and its rows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from python_calamine import (
    CalamineError,
    CalamineSheet,
    CalamineWorkbook,
    PasswordError,
    SheetTypeEnum,
    SheetVisibleEnum,
)

from workers.roster.cells import cell_text, clean
from workers.roster.errors import RosterError
from workers.roster.headers import NEEDED, Columns, columns_of, field_of

HEADER_WITHIN = 50
"""Rows from the top in which the header must stand."""

WIDEST = 1_000
"""Columns that a sheet may span."""

NAME_LENGTH = 40
"""How much of a sheet's name is told; the format's own limit is 31."""

_NOTE = re.compile(
    r"[※*#▶▷●○◎■□◆◇★☆→⇒·•<\[(-]|비고|참고|주의|문의|합계|총계|(notes?|total)\b", re.IGNORECASE
)


class TextRow(NamedTuple):
    """A row below the header: its number as the spreadsheet shows it, its texts by field."""

    number: int
    texts: dict[str, str]


class Table(NamedTuple):
    """The roster: the sheet's name, the number of its last row, its rows as they are read."""

    sheet: str
    last_row: int
    rows: Iterator[TextRow]


def open_table(path: Path) -> Table:
    """Give the roster of a workbook that was inspected.

    Raises:
        RosterError: no visible sheet has a header row, or the file is damaged.
    """
    try:
        workbook = CalamineWorkbook.from_path(path)
        for name in _visible(workbook):
            sheet = workbook.get_sheet_by_name(name)
            if table := _table(sheet):
                return table
    except PasswordError as error:
        raise RosterError("is protected by a password", code="protected") from error
    except CalamineError as error:
        raise RosterError(
            "the file is damaged: its sheets cannot be read", code="damaged"
        ) from error
    raise RosterError(
        f"no visible sheet has a header with the columns 이름 and 학부모 전화번호 (name, parent "
        f"phone) in its first {HEADER_WITHIN} rows",
        code="no_header",
    )


def _visible(workbook: CalamineWorkbook) -> list[str]:
    return [
        sheet.name
        for sheet in workbook.sheets_metadata
        if sheet.typ == SheetTypeEnum.WorkSheet and sheet.visible == SheetVisibleEnum.Visible
    ]


def _table(sheet: CalamineSheet) -> Table | None:
    name = clean(sheet.name)[:NAME_LENGTH]
    if sheet.width > WIDEST:
        raise RosterError(
            f"sheet {name!r} is {sheet.width:,} columns wide: delete what stands far right of the "
            "table",
            code="too_wide",
        )
    for number, values in enumerate(islice(sheet.iter_rows(), HEADER_WITHIN), start=1):
        if columns := columns_of([cell_text(value) for value in values]):
            last_row = (sheet.end or (0, 0))[0] + 1
            return Table(name, last_row, _rows(sheet, number, columns))
    return None


def _rows(sheet: CalamineSheet, header: int, columns: Columns) -> Iterator[TextRow]:
    """Give the rows that say something; blank ones, notes and repeated headers do not."""
    wide = _wide_cells(sheet)
    fields = {index: field for field, index in columns.items()}
    for number, values in enumerate(sheet.iter_rows(), start=1):
        if number <= header:
            continue
        filled = [(index, text) for index, value in enumerate(values) if (text := cell_text(value))]
        texts = {fields[index]: text for index, text in filled if index in fields}
        if not texts or _is_note(number, filled, wide) or _is_header(texts):
            continue
        yield TextRow(number, texts)


def _wide_cells(sheet: CalamineSheet) -> frozenset[tuple[int, int]]:
    """Give (row number, column index) of merged cells that span columns."""
    left = (sheet.start or (0, 0))[1]
    ranges = sheet.merged_cell_ranges or []
    return frozenset((top + 1, first - left) for (top, first), (_, last) in ranges if last > first)


def _is_note(
    number: int, filled: Sequence[tuple[int, str]], wide: frozenset[tuple[int, int]]
) -> bool:
    """Tell a note from a student: one cell alone, merged over columns or marked as a note."""
    if len(filled) != 1:
        return False
    [(index, text)] = filled
    return _NOTE.match(text) is not None or (number, index) in wide


def _is_header(texts: dict[str, str]) -> bool:
    return all(field_of(texts.get(field, "")) == field for field in NEEDED)

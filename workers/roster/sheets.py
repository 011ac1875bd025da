"""Finding the roster in a workbook: the first visible sheet with a header, and its rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

from python_calamine import (
    CalamineError,
    CalamineSheet,
    CalamineWorkbook,
    PasswordError,
    SheetMetadata,
    SheetTypeEnum,
    SheetVisibleEnum,
)

from workers.roster.cells import Value, cell_text, clean
from workers.roster.errors import RosterError
from workers.roster.headers import NEEDED, Columns, columns_of, field_of
from workers.roster.windows import Unwindowed

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


class Workbook(Protocol):
    """A workbook in memory, or one that comes in windows."""

    metadata: list[SheetMetadata]

    def sheet(self, name: str) -> Sheet:
        """Give a sheet by its name."""


class Sheet(Protocol):
    """A sheet: its name, the number of its last row, its merged ranges."""

    name: str
    last_row: int
    merged: list[tuple[tuple[int, int], tuple[int, int]]]

    def parsed(self) -> Iterator[CalamineSheet]:
        """Give what the parser made of it, one part below the other."""


class Whole:
    """A workbook whose sheets are in memory whole."""

    def __init__(self, path: Path) -> None:
        self._workbook = CalamineWorkbook.from_path(path)
        self.metadata = self._workbook.sheets_metadata

    def sheet(self, name: str) -> WholeSheet:
        """Give a sheet by its name."""
        return WholeSheet(self._workbook.get_sheet_by_name(name))


class WholeSheet:
    """A sheet that is in memory."""

    def __init__(self, sheet: CalamineSheet) -> None:
        self._sheet = sheet
        self.name = sheet.name
        self.last_row = (sheet.end or (0, 0))[0] + 1
        self.merged = sheet.merged_cell_ranges or []

    def parsed(self) -> Iterator[CalamineSheet]:
        """Give the sheet."""
        yield self._sheet


def open_table(open_workbook: Callable[[], Workbook]) -> Table:
    """Give the roster of a workbook that was inspected.

    Raises:
        RosterError: no visible sheet has a header row, or the file is damaged.
        Unwindowed: it came in windows and is to be read whole; while rows are read, too.
    """
    with _told():
        workbook = open_workbook()
        for name in _visible(workbook):
            if table := _table(workbook.sheet(name)):
                return table
    raise RosterError(
        f"no visible sheet has a header with the columns 이름 and 학부모 전화번호 (name, parent "
        f"phone) in its first {HEADER_WITHIN} rows",
        code="no_header",
    )


@contextmanager
def _told() -> Iterator[None]:
    """Say what the parser says as errors of a roster."""
    try:
        yield
    except PasswordError as error:
        raise RosterError("is protected by a password", code="protected") from error
    except CalamineError as error:
        raise RosterError(
            "the file is damaged: its sheets cannot be read", code="damaged"
        ) from error


def _visible(workbook: Workbook) -> list[str]:
    return [
        sheet.name
        for sheet in workbook.metadata
        if sheet.typ == SheetTypeEnum.WorkSheet and sheet.visible == SheetVisibleEnum.Visible
    ]


def _table(sheet: Sheet) -> Table | None:
    for number, values in _numbered(sheet):
        if number > HEADER_WITHIN:
            break
        if columns := columns_of([cell_text(value) for value in values]):
            return Table(_shown(sheet.name), sheet.last_row, _rows(sheet, number, columns))
    return None


def _numbered(sheet: Sheet) -> Iterator[tuple[int, Sequence[Value]]]:
    """Give rows by their number, each from the sheet's first column on."""
    last = 0
    with _told():
        for parsed in sheet.parsed():
            if parsed.start is None or parsed.end is None:
                continue
            if (width := parsed.end[1] + 1) > WIDEST:
                raise _too_wide(sheet.name, width)
            (top, left) = parsed.start
            if top < last:
                raise Unwindowed  # its rows do not rise
            rows = parsed.iter_rows() if top == 0 else iter(parsed.to_python())
            for last, values in enumerate(rows, start=top + 1):
                yield last, [""] * left + values if left else values


def _rows(sheet: Sheet, header: int, columns: Columns) -> Iterator[TextRow]:
    """Give the rows that say something; blank ones, notes and repeated headers do not."""
    wide = frozenset((top + 1, first) for (top, first), (_, last) in sheet.merged if last > first)
    fields = {index: field for field, index in columns.items()}
    for number, values in _numbered(sheet):
        if number <= header:
            continue
        filled = [(index, text) for index, value in enumerate(values) if (text := cell_text(value))]
        texts = {fields[index]: text for index, text in filled if index in fields}
        if not texts or _is_note(number, filled, wide) or _is_header(texts):
            continue
        yield TextRow(number, texts)


def _too_wide(name: str, width: int) -> RosterError:
    return RosterError(
        f"sheet {_shown(name)!r} is {width:,} columns wide: delete what stands far right of the "
        "table",
        code="too_wide",
    )


def _shown(name: str) -> str:
    return clean(name)[:NAME_LENGTH]


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

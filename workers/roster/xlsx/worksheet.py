"""The rows of cells of a worksheet, collected while its XML is parsed.

The cost depends on the number of cells, not on the range that they span. Used by
`workers.roster.table.header_row`, `workers.roster.table.sheets`, `workers.roster.xlsx.merges` and
`workers.roster.xlsx.workbook`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from workers.roster.errors import RosterError
from workers.roster.xlsx.cells import cell_text, number_text
from workers.roster.xlsx.formats import date_text
from workers.roster.xlsx.markup import Attributes, Handlers

LAST_ROW = 1_048_576
LAST_COLUMN = 16_384
"""The limits of the format."""

TEXT, DATED, UNCALCULATED, SHARED = range(4)
"""Kinds of values; a SHARED value is the number of a shared string, as text."""

Cell = tuple[int, int, str]
"""Column from 0, kind, value. Empty cells and cells with an error are omitted."""

_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")
_REFERENCE = re.compile(r"\$?([A-Za-z]{1,7})\$?([0-9]{1,9})")
_DIGITS = "0123456789"


class RawRow(NamedTuple):
    """A row with at least one cell: its number in the spreadsheet, and its cells."""

    number: int
    cells: list[Cell]


class Merge(NamedTuple):
    """A merged range: row numbers of the spreadsheet, columns from 0."""

    top: int
    left: int
    bottom: int
    right: int


class Texts(Handlers):
    """The text of `t` elements, without phonetic guides."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._collecting = False
        self._phonetic = False

    def start(self, name: str, attributes: Attributes) -> None:  # noqa: ARG002 - its subclass
        """Begin to collect text at a `t` element that is not phonetic."""
        if name == "t":
            self._collecting = not self._phonetic
        elif name == "rPh":
            self._phonetic = True

    def end(self, name: str) -> None:
        """Stop collecting text."""
        if name == "t":
            self._collecting = False
        elif name == "rPh":
            self._phonetic = False

    def text(self, text: str) -> None:
        """Collect text inside a `t` element that is not phonetic."""
        if self._collecting:
            self._pieces.append(text)

    def _taken(self) -> str:
        text = "".join(self._pieces)
        self._pieces.clear()
        return text


class SharedStrings(Texts):
    """Collects shared strings."""

    def __init__(self) -> None:
        super().__init__()
        self.strings: list[str] = []

    def end(self, name: str) -> None:
        """Store the string that ends."""
        if name == "si":
            self.strings.append(cell_text(unescaped(self._taken())))
        else:
            super().end(name)


class Cells(Texts):
    """Collects rows and merged ranges of one sheet."""

    def __init__(self, date_styles: frozenset[str], *, from_1904: bool) -> None:
        super().__init__()
        self.rows: list[RawRow] = []
        self.merges: list[Merge] = []
        self.last_row = 0
        self._date_styles = date_styles
        self._from_1904 = from_1904
        self._cells: list[Cell] = []
        self._column = -1
        self._attributes: Attributes = {}
        self._has_formula = False

    def start(self, name: str, attributes: Attributes) -> None:
        """Handle the start of a row, a cell, its value or formula, or a merged range."""
        if name == "v":
            self._collecting = True
        elif name == "c":
            reference = attributes.get("r")
            if reference:
                self._column = _column(reference.rstrip(_DIGITS))
            else:
                self._column += 1
            self._attributes = attributes
            self._has_formula = False
        elif name == "row":
            self._start_row(attributes.get("r"))
        elif name == "f":
            self._has_formula = True
        elif name == "mergeCell":
            self._merge(attributes.get("ref", ""))
        else:
            super().start(name, attributes)

    def end(self, name: str) -> None:
        """Store the cell or the row that ends, unless it is empty."""
        if name == "v":
            self._collecting = False
        elif name == "c":
            if self._pieces or self._has_formula:
                self._end_cell(self._taken())
        elif name == "row":
            if self._cells:
                self.rows.append(RawRow(self.last_row, self._cells))
                self._cells = []
        else:
            super().end(name)

    def _start_row(self, number: str | None) -> None:
        row = int(number) if number and number.isdecimal() else self.last_row + 1
        if not self.last_row < row <= LAST_ROW:
            raise RosterError("the file is damaged: its rows are out of order", code="damaged")
        self.last_row = row
        self._column = -1

    def _end_cell(self, text: str) -> None:
        kind = self._attributes.get("t", "n")
        value: tuple[int, str]
        if not text:
            # A formula without a value, unless the type says that the value is an empty text.
            value = (TEXT, "") if kind in ("str", "e") else (UNCALCULATED, "=")
        elif kind == "s":
            value = (SHARED, text)
        elif kind == "n":
            value = self._number(text)
        elif kind == "b":
            value = (TEXT, str(text.strip() not in ("0", "false")))
        elif kind == "d":
            value = (DATED, text.strip().removesuffix("T00:00:00").replace("T", " "))
        else:
            value = (TEXT, "" if kind == "e" else cell_text(unescaped(text)))
        if value[1]:
            if self._column >= LAST_COLUMN:
                raise _too_wide(self._column + 1)
            self._cells.append((self._column, *value))

    def _number(self, text: str) -> tuple[int, str]:
        if self._attributes.get("s") in self._date_styles:
            try:
                dated = date_text(float(text), from_1904=self._from_1904)
            except ValueError:
                dated = None
            if dated is not None:
                return DATED, dated
        return TEXT, number_text(text)

    def _merge(self, reference: str) -> None:
        first, _, last = reference.partition(":")
        found = [_REFERENCE.fullmatch(each) for each in (first, last or first)]
        if found[0] and found[1]:
            left, right = sorted(_column(each[1]) for each in found if each)
            top, bottom = sorted(int(each[2]) for each in found if each)
            self.merges.append(Merge(top, left, bottom, right))


def unescaped(text: str) -> str:
    """Return a text with the escapes of the format (`_x000D_`) replaced by their characters."""
    if "_x" not in text:
        return text
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text)


@lru_cache(maxsize=32_768)
def _column(letters: str) -> int:
    """Return the index of a column, from 0, by its letters."""
    index = 0
    for letter in letters.upper():
        if not "A" <= letter <= "Z":
            index = 0
            break
        index = index * 26 + ord(letter) - 64
    if not index or len(letters) > 7:
        raise RosterError("the file is damaged: a cell has no place", code="damaged")
    return index - 1


def _too_wide(width: int) -> RosterError:
    return RosterError(f"is {width:,} columns wide, more than a sheet can have", code="too_wide")

"""A workbook: its sheets, each parsed once into a temporary file of rows.

Used by `workers.roster.reader_process`, `workers.roster.table.sheets` and
`workers.roster.xlsx.merges`.
"""

from __future__ import annotations

import re
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, NamedTuple, Self

import orjson

from workers.roster.errors import RosterError
from workers.roster.xlsx.cells import Dated, Uncalculated
from workers.roster.xlsx.formats import date_styles
from workers.roster.xlsx.markup import PIECE_BYTES, elements, parse
from workers.roster.xlsx.parts import Parts
from workers.roster.xlsx.scratch import Scratch
from workers.roster.xlsx.worksheet import (
    DATED,
    SHARED,
    TEXT,
    UNCALCULATED,
    Cells,
    Merge,
    RawRow,
    SharedStrings,
)

_BATCH = 500
"""Rows whose shared strings are read in one query."""

_NUMBER = re.compile(r"\s*[0-9]{1,9}\s*")
_TRUE = ("1", "true", "on")

Texts = dict[int, str]
"""The texts of a row by column index, without empty ones."""


class SheetRows:
    """The rows of a sheet, which can be iterated several times, and its merged ranges."""

    def __init__(self, name: str, spool: IO[bytes]) -> None:
        self.name = name
        self.last_row = 0
        self.merges: list[Merge] = []
        self._spool = spool

    def __iter__(self) -> Iterator[tuple[int, Texts]]:
        """Yield the numbers and texts of the rows; only one iteration at a time is possible."""
        self._spool.seek(0)
        for line in self._spool:
            number, *cells = orjson.loads(line)
            yield number, {column: _KINDS[kind](text) for column, kind, text in cells}

    def append(self, row: RawRow, strings: dict[str, str]) -> None:
        """Store a row, with the texts of its shared strings by their numbers."""
        cells = [
            (column, TEXT, strings[value]) if kind == SHARED else (column, kind, value)
            for column, kind, value in row.cells
        ]
        filled = [cell for cell in cells if cell[2]]
        if filled:
            self._spool.write(orjson.dumps((row.number, *filled)) + b"\n")


_KINDS: dict[int, type[str]] = {TEXT: str, DATED: Dated, UNCALCULATED: Uncalculated}


class _Sheet(NamedTuple):
    name: str
    part: str
    visible: bool


class Workbook:
    """A workbook that was inspected; closing it deletes the rows of its sheets."""

    def __init__(self, path: Path, scratch: Scratch, piece: int = PIECE_BYTES) -> None:
        self._scratch = scratch
        self._piece = piece
        self._files = ExitStack()
        self._parts = Parts(self._files.enter_context(zipfile.ZipFile(path)))
        main = self._parts.main() or ""
        self._relationships = self._parts.relationships(main)
        self._from_1904 = False
        self._sheets = self._listed(main)
        self._date_styles: frozenset[str] = frozenset()
        if styles := self._related("styles"):
            with self._parts.open(styles) as stream:
                self._date_styles = date_styles(elements(stream))
        if strings := self._related("sharedStrings"):
            scratch.add_strings(self._strings(strings))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self._files.close()

    def visible(self) -> Iterator[SheetRows]:
        """Parse and yield the visible worksheets, one after the other.

        Raises:
            RosterError: the file is damaged, or not safe to parse.
        """
        for sheet in self._sheets:
            if sheet.visible:
                yield self._rows(sheet)

    def _listed(self, main: str) -> list[_Sheet]:
        worksheets = {
            each.id: each.target for each in self._relationships if each.kind == "worksheet"
        }
        sheets = []
        with self._parts.open(main) as stream:
            found = elements(stream)
        if found[0].name != "workbook":
            raise RosterError("is not an Excel workbook (.xlsx)", code="not_a_workbook")
        for parent, name, attributes in found:
            if name == "workbookPr":
                self._from_1904 = attributes.get("date1904", "").casefold() in _TRUE
            if (parent, name) != ("sheets", "sheet"):
                continue
            ids = [value for key, value in attributes.items() if key.endswith(":id")]
            part = worksheets.get(ids[0]) if ids else None
            if part is not None:
                visible = attributes.get("state", "visible") == "visible"
                sheets.append(_Sheet(attributes.get("name", ""), part, visible))
        return sheets

    def _related(self, kind: str) -> str | None:
        found = (each.target for each in self._relationships if each.kind == kind)
        return next((target for target in found if target in self._parts), None)

    def _strings(self, part: str) -> Iterator[str]:
        handlers = SharedStrings()
        with self._parts.open(part) as stream:
            for _ in parse(stream, handlers, self._piece):
                yield from handlers.strings
                handlers.strings.clear()

    def _rows(self, sheet: _Sheet) -> SheetRows:
        handlers = Cells(self._date_styles, from_1904=self._from_1904)
        spool = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the workbook
        rows = SheetRows(sheet.name, self._files.enter_context(spool))
        with self._parts.open(sheet.part) as stream:
            for _ in parse(stream, handlers, self._piece):
                if len(handlers.rows) >= _BATCH:
                    self._move(handlers.rows, rows)
        self._move(handlers.rows, rows)
        rows.last_row, rows.merges = handlers.last_row, handlers.merges
        return rows

    def _move(self, parsed: list[RawRow], rows: SheetRows) -> None:
        shared = {value for row in parsed for _, kind, value in row.cells if kind == SHARED}
        wanted = {value: int(value) for value in shared if _NUMBER.fullmatch(value)}
        found = self._scratch.strings(wanted.values())
        strings = {value: found[number] for value, number in wanted.items() if number in found}
        if len(strings) < len(shared):
            raise RosterError("the file is damaged: a text is missing", code="damaged")
        for row in parsed:
            rows.append(row, strings)
        parsed.clear()

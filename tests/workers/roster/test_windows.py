"""A workbook read in windows gives the rows that it gives when it is read whole."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
import xlsxwriter  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.workbooks import KOREAN, part, repacked, student, with_openpyxl, with_xlsxwriter
from tests.workers.roster.test_workbooks import AWKWARD, HEADER, Write
from workers.roster.errors import RosterError
from workers.roster.reading import read_workbook
from workers.roster.rows import Student
from workers.roster.scratch import Scratch
from workers.roster.sheets import Table, TextRow, Whole, open_table
from workers.roster.windows import Unwindowed, Windows, is_large

SHEET = "xl/worksheets/sheet1.xml"
Told = tuple[str, list[TextRow]]


def told(table: Table) -> Told:
    rows = list(table.rows)
    assert table.last_row >= max((row.number for row in rows), default=0)
    return table.sheet, rows


def whole(path: Path) -> Told:
    return told(open_table(lambda: Whole(path)))


def windowed(path: Path, piece: int) -> Told:
    scratch = Scratch()
    return told(open_table(lambda: Windows(path, scratch, piece)))


@pytest.mark.parametrize("write", [write for write, _ in AWKWARD])
def test_awkward_workbook__in_windows_of_a_row_or_few__gives_the_same_rows(
    write: Write, tmp_path: Path
) -> None:
    path = write(tmp_path / "명부.xlsx")
    assert windowed(path, 100) == whole(path)


_CELLS = st.one_of(
    st.none(),
    st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=8),
    st.sampled_from(["이름", "</si><si>", '<c t="s"><v>0</v></c>', "</row>", " a  b ", "_x000D_"]),
    st.integers(0, 10**11),
    st.floats(-1e6, 1e6),
    st.booleans(),
)


@given(st.lists(st.lists(_CELLS, max_size=4), max_size=12), st.integers(16, 2_000), st.booleans())
@settings(max_examples=40, deadline=None)
def test_any_rows__in_windows_of_any_size__are_the_same(
    rows: list[list[Any]],
    piece: int,
    in_strings: bool,  # noqa: FBT001 - drawn
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.xlsx"
        with_xlsxwriter(path, [HEADER, *rows], in_strings=in_strings)
        assert windowed(path, piece) == whole(path)


def test_empty_sheet_first__is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    with xlsxwriter.Workbook(path) as book:
        book.add_worksheet()
        sheet = book.add_worksheet("명부")
        for number, row in enumerate((KOREAN, student(1))):
            sheet.write_row(number, 0, row)
    assert b"<sheetData/>" in part(path, SHEET)
    name, rows = windowed(path, 100)
    assert (name, rows) == whole(path)
    assert len(rows) == 1


def large(path: Path) -> Path:
    path = with_openpyxl(path, [KOREAN, *map(student, range(12_000))])
    assert is_large(path)
    return path


def students(path: Path) -> list[int]:
    with read_workbook(path) as reading:
        return [row.row for row in reading.rows if isinstance(row, Student)]


def test_large_workbook__gives_all_its_rows(tmp_path: Path) -> None:
    assert students(large(tmp_path / "a.xlsx")) == list(range(2, 12_002))


def test_large_workbook_that_cannot_be_cut__is_read_whole_from_its_first_row(
    tmp_path: Path,
) -> None:
    """The comment comes when windows were read and rows were left already."""
    source = large(tmp_path / "source.xlsx")
    sheet = part(source, SHEET).replace(b'<row r="9000"', b'<!-- </row> --><row r="9000"')
    path = repacked(source, tmp_path / "a.xlsx", {SHEET: sheet})
    with pytest.raises(Unwindowed):
        windowed(path, 100_000)
    assert students(path) == list(range(2, 12_002))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'<row r="3"', b"<row"),
        (b'<c r="A4"', b'<c r="A2"'),
        (b"</worksheet>", b"<!-- --></worksheet>"),
        (b"<sheetData>", b"<sheetData><![CDATA[ ]]>"),
        (b'<c r="A4" t="s">', b'<c r="A4" t = "s">'),
        (b'encoding="UTF-8"', b'encoding="EUC-KR"'),
    ],
    ids=[
        "no number",
        "a cell of an earlier row",
        "comment",
        "character data",
        "spaces",
        "other letters",
    ],
)
def test_rows_that_could_be_misread__are_not_read_in_windows(
    old: bytes, new: bytes, tmp_path: Path
) -> None:
    source = with_xlsxwriter(tmp_path / "source.xlsx", [HEADER, *map(student, range(3))])
    sheet = part(source, SHEET)
    assert old in sheet
    path = repacked(source, tmp_path / "a.xlsx", {SHEET: sheet.replace(old, new)})
    with pytest.raises((Unwindowed, RosterError)):
        windowed(path, 64)

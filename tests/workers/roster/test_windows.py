"""Parsing in pieces: the size of the pieces and the encoding change no row."""

from __future__ import annotations

import re
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl  # type: ignore[import-untyped]
import pytest
import xlsxwriter  # type: ignore[import-untyped]
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.support.thorough import examples
from tests.support.workbooks import KOREAN, part, repacked, student, with_openpyxl, with_xlsxwriter
from tests.workers.roster.test_workbooks import AWKWARD, HEADER, Write
from workers.roster.errors import RosterError
from workers.roster.reader_client import read_workbook
from workers.roster.table.rows import Student
from workers.roster.table.sheets import TextRow, open_table
from workers.roster.xlsx.cells import cell_text, number_text
from workers.roster.xlsx.markup import PIECE_BYTES
from workers.roster.xlsx.scratch import Scratch
from workers.roster.xlsx.workbook import Workbook

SHEET = "xl/worksheets/sheet1.xml"
STRINGS = "xl/sharedStrings.xml"
Recoded = Callable[[bytes], bytes]


def windowed(path: Path, piece: int = PIECE_BYTES) -> tuple[str, list[TextRow]]:
    with Workbook(path, Scratch(), piece) as workbook:
        table = open_table(workbook)
        rows = list(table.rows)
    assert table.last_row >= max((row.number for row in rows), default=0)
    return table.sheet, rows


def cells(path: Path, piece: int = PIECE_BYTES) -> list[dict[int, str]]:
    """Return the texts of all rows of the first sheet."""
    with Workbook(path, Scratch(), piece) as workbook:
        [sheet] = workbook.visible()
        return [texts for _, texts in sheet]


@pytest.mark.parametrize("write", [write for write, _ in AWKWARD])
@pytest.mark.parametrize("piece", [1, 100])
def test_awkward_workbook__in_windows_of_any_size__gives_the_same_rows(
    write: Write, piece: int, tmp_path: Path
) -> None:
    path = write(tmp_path / "명부.xlsx")
    if path.stat().st_size > 100_000 and piece == 1:
        piece = 7
    assert windowed(path, piece) == windowed(path)


_CELLS = st.one_of(
    st.none(),
    st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=8),
    st.sampled_from(["이름", "</si><si>", '<c t="s"><v>0</v></c>', "</row>", " a  b ", "_x000D_"]),
    st.sampled_from(["<![CDATA[", "]]>", "<!-- a -->", "<!DOCTYPE a>", "&amp;", "&#48;", "\ufeff"]),
    st.integers(0, 10**11),
    st.floats(-1e6, 1e6),
    st.booleans(),
)
_ROWS = st.lists(st.lists(_CELLS, max_size=4), max_size=12)


@given(_ROWS, st.integers(1, 2_000), st.booleans())
@settings(max_examples=examples(40), deadline=None)
def test_any_rows__in_windows_of_any_size__are_the_same(
    rows: list[list[Any]],
    piece: int,
    in_strings: bool,  # noqa: FBT001 - drawn
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.xlsx"
        with_xlsxwriter(path, [HEADER, *rows], in_strings=in_strings)
        assert windowed(path, piece) == windowed(path)


@given(_ROWS, st.booleans())
@settings(max_examples=examples(40), deadline=None)
def test_any_rows__are_what_another_reader_finds(
    rows: list[list[Any]],
    in_strings: bool,  # noqa: FBT001 - drawn
) -> None:
    # openpyxl decodes the format's escapes in some texts and not in others.
    assume(not any("_x" in value for row in rows for value in row if isinstance(value, str)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.xlsx"
        with_xlsxwriter(path, [HEADER, *rows], in_strings=in_strings)
        found = openpyxl.load_workbook(path).active.iter_rows(values_only=True)
        expected = [
            {index: text for index, value in enumerate(row) if (text := _text(value))}
            for row in found
        ]
        assert cells(path) == [texts for texts in expected if texts]


def _text(value: Any) -> str:
    if value is None:
        return ""
    return cell_text(value) if isinstance(value, str) else number_text(str(value))


def utf_16(content: bytes) -> bytes:
    text = content.decode().replace('encoding="UTF-8"', 'encoding="UTF-16"')
    return text.replace("encoding='UTF-8'", "encoding='UTF-16'").encode("utf-16")


def utf_16_undeclared(content: bytes) -> bytes:
    return re.sub(r"^<\?xml.*?\?>", "", content.decode()).encode("utf-16")


def with_byte_order_mark(content: bytes) -> bytes:
    return b"\xef\xbb\xbf" + content


def with_character_references(content: bytes) -> bytes:
    return content.decode().encode("ascii", "xmlcharrefreplace").replace(b"UTF-8", b"US-ASCII")


def with_comments(content: bytes) -> bytes:
    return content.replace(b"<row", b"<!-- </row> <c/> --><row").replace(
        b"<si>", b"<!-- <si> --><si>"
    )


def with_character_data(content: bytes) -> bytes:
    return re.sub(rb"<t>([^<&]*)</t>", rb"<t><![CDATA[\1]]></t>", content)


def with_instructions(content: bytes) -> bytes:
    return content.replace(b"<row", b"<?a </row> ?><row")


def with_spaces_in_tags(content: bytes) -> bytes:
    return content.replace(b' t="s"', b"\n t = 's'").replace(b"</v>", b"</v >")


def with_prefixes(content: bytes) -> bytes:
    named = re.sub(rb"<(/?)([A-Za-z])", rb"<\1x:\2", content)
    return named.replace(b" xmlns=", b" xmlns:x=")


@pytest.mark.parametrize(
    "recoded",
    [utf_16, utf_16_undeclared, with_byte_order_mark, with_character_references, with_comments,
     with_character_data, with_instructions, with_spaces_in_tags, with_prefixes],
)  # fmt: skip
@pytest.mark.parametrize("piece", [1, 30, PIECE_BYTES])
def test_other_markup_and_encodings__give_the_same_rows(
    recoded: Recoded, piece: int, tmp_path: Path
) -> None:
    source = with_xlsxwriter(tmp_path / "source.xlsx", [KOREAN, *map(student, range(30))])
    changed = {name: recoded(part(source, name)) for name in (SHEET, STRINGS)}
    assert any(part(source, name) != content for name, content in changed.items())
    path = repacked(source, tmp_path / "a.xlsx", changed)
    assert windowed(path, piece) == windowed(source)


@pytest.mark.parametrize("encode", [bytes, utf_16])
@pytest.mark.parametrize("piece", [1, 5, 30, PIECE_BYTES])
@pytest.mark.parametrize("name", [SHEET, STRINGS, "xl/workbook.xml", "xl/styles.xml"])
def test_document_type__is_refused_wherever_it_is_cut(
    encode: Recoded, piece: int, name: str, tmp_path: Path
) -> None:
    source = with_xlsxwriter(tmp_path / "source.xlsx", [HEADER, *map(student, range(3))])
    doctype = b'?>\n<!DOCTYPE a [<!ENTITY b "bbbb">]><'
    content = re.sub(rb"\?>\s*<", lambda _: doctype, part(source, name), count=1)
    path = repacked(source, tmp_path / "a.xlsx", {name: encode(content)})
    with pytest.raises(RosterError) as caught:
        windowed(path, piece)
    assert caught.value.code == "bomb"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'<row r="3"', b'<row r="2"'),
        (b'<row r="3"', b'<row r="1048577"'),
        (b'<c r="A4"', b'<c r="4"'),
        (b'encoding="UTF-8"', b'encoding="EUC-KR"'),
        (b'encoding="UTF-8"', b'encoding="no-such"'),
        (b"</worksheet>", b""),
        (b"<v>0</v>", b"<v>99</v>"),
    ],
    ids=["a row twice", "a row too far", "no column", "two-byte letters", "unknown letters",
         "cut off", "no such text"],
)  # fmt: skip
def test_damaged_sheet__is_refused_by_one_line(old: bytes, new: bytes, tmp_path: Path) -> None:
    source = with_xlsxwriter(tmp_path / "source.xlsx", [HEADER, *map(student, range(3))])
    sheet = part(source, SHEET)
    assert old in sheet
    path = repacked(source, tmp_path / "a.xlsx", {SHEET: sheet.replace(old, new)})
    with pytest.raises(RosterError) as caught:
        windowed(path, 64)
    assert caught.value.code == "damaged"


@pytest.mark.parametrize(
    ("old", "new"), [(rb'<row r="\d+"', b"<row"), (rb'<c r="[A-Z]+\d+"', b"<c")]
)
def test_rows_and_cells_without_numbers__are_counted(
    old: bytes, new: bytes, tmp_path: Path
) -> None:
    source = with_xlsxwriter(tmp_path / "source.xlsx", [KOREAN, *map(student, range(3))])
    sheet = re.sub(old, new, part(source, SHEET))
    path = repacked(source, tmp_path / "a.xlsx", {SHEET: sheet})
    assert windowed(path) == windowed(source)


def test_empty_sheet_first__is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    with xlsxwriter.Workbook(path) as book:
        book.add_worksheet()
        sheet = book.add_worksheet("명부")
        for number, row in enumerate((KOREAN, student(1))):
            sheet.write_row(number, 0, row)
    assert b"<sheetData/>" in part(path, SHEET)
    name, rows = windowed(path)
    assert name == "명부"
    assert len(rows) == 1


def test_large_workbook__gives_all_its_rows(tmp_path: Path) -> None:
    path = with_openpyxl(tmp_path / "a.xlsx", [KOREAN, *map(student, range(12_000))])
    with zipfile.ZipFile(path) as package:
        assert package.getinfo(SHEET).file_size > 50 * PIECE_BYTES
    with read_workbook(path) as reading:
        rows = [row.row for row in reading.rows if isinstance(row, Student)]
    assert rows == list(range(2, 12_002))

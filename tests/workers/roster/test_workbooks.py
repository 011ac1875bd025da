"""Unusual workbooks, written by two libraries, and their exact rows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
import xlsxwriter  # type: ignore[import-untyped]
from openpyxl.cell.rich_text import CellRichText, TextBlock  # type: ignore[import-untyped]
from openpyxl.cell.text import InlineFont  # type: ignore[import-untyped]
from openpyxl.styles import PatternFill  # type: ignore[import-untyped]

from tests.support.workbooks import (
    edited,
    part,
    phone,
    repacked,
    with_openpyxl,
    with_xlsxwriter,
)
from workers.roster.reader_client import read_workbook
from workers.roster.table.rows import Student

Write = Callable[[Path], Path]
HEADER = ["이름", "학부모전화"]
NO_PHONE = "학부모 전화번호가 올바르지 않습니다."
NO_NAME = "이름이 필요합니다."
KIM, LEE = ("김하늘", phone(1)), ("이바다", phone(2))


def rows_of(path: Path) -> list[tuple[Any, ...]]:
    """Return each row as (row, name, parent's phone), or as (row, name, reason) if it fails."""
    with read_workbook(path) as reading:
        rows = [
            (row.row, row.name, row.parent_phone if isinstance(row, Student) else row.error)
            for row in reading.rows
        ]
        assert len(rows) == reading.total
        return rows


def plain(path: Path) -> Path:
    return with_openpyxl(path, [HEADER, KIM, LEE])


def english_in_another_order(path: Path) -> Path:
    rows = [["Memo", "Parent Phone", "School", "Student Name"], ["", phone(1), "x", "Kim"]]
    return with_xlsxwriter(path, rows)


def texts_in_their_cells(path: Path) -> Path:
    return with_xlsxwriter(path, [HEADER, KIM, LEE], in_strings=False)


def merged_title_rows(path: Path) -> Path:
    def edit(book: Any) -> None:
        sheet = book.active
        sheet["A1"] = "2026학년도 학생 이름과 학부모 전화번호"
        sheet.merge_cells("A1:F2")
        sheet["A3"] = "작성: 한빛학원"
        sheet.merge_cells("A3:B3")
        for cells in ([], HEADER, KIM, LEE):
            sheet.append(cells)

    return edited(path, edit)


def merged_titles_and_blank_rows(path: Path) -> Path:
    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet()
        sheet.merge_range("A1:D1", "원생 명부")
        sheet.merge_range("A3:D4", "이름")
        sheet.write_row("B10", HEADER)
        sheet.write_row("B13", KIM)
        sheet.write_row("B20", LEE)
    return path


def table_in_a_corner(path: Path) -> Path:
    def edit(book: Any) -> None:
        for row, cells in ((5, HEADER), (6, KIM), (8, LEE)):
            for column, value in enumerate(cells, start=3):
                book.active.cell(row, column, value)

    return edited(path, edit)


def phones_as_numbers(path: Path) -> Path:
    rows = [
        HEADER,
        ["김", 1012345678],
        ["이", 1012345679.0],
        ["박", 10123456780],
        ["최", 821011112222],
    ]
    return with_xlsxwriter(path, rows)


def phones_as_texts(path: Path) -> Path:
    texts = ["010-0000-0001", "+82 10 0000 0002", "1000000003", "1000000004.0", "０１０.0000.0005",
             "'010 0000 0006", "010-0000-0007(모)", "11-222-3333"]  # fmt: skip
    return with_openpyxl(path, [HEADER, *([f"학{text[-1]}", text] for text in texts)])


def dates_where_none_belong(path: Path) -> Path:
    rows = [[*HEADER, "학년"], [date(2024, 3, 1), phone(1), 1], ["이", datetime(2024, 3, 1), 1],  # noqa: DTZ001
            ["박", phone(3), date(2024, 3, 1)]]  # fmt: skip
    return with_openpyxl(path, rows)


def dates_by_number_format(path: Path) -> Path:
    with xlsxwriter.Workbook(path) as book:
        sheet, dated = book.add_worksheet(), book.add_format({"num_format": "yyyy-mm-dd"})
        sheet.write_row(0, 0, HEADER)
        sheet.write_number(1, 0, 45_352, dated)
        sheet.write(1, 1, phone(1))
        sheet.write_row(2, 0, KIM)
    return path


def blank_and_coloured_rows(path: Path) -> Path:
    def edit(book: Any) -> None:
        for row in (HEADER, KIM, [], ["  ", "\u3000"], [None, ""], LEE):
            book.active.append(row)
        for number in range(7, 60):
            book.active.cell(number, 1).fill = PatternFill("solid", "FFFF00")

    return edited(path, edit)


def trailing_notes(path: Path) -> Path:
    rows = [HEADER, KIM, [], ["※ 전화번호는 학부모 것으로"], ["비고: 3월"], ["Total 1"], ["홍길동"]]
    return with_xlsxwriter(path, rows)


def trailing_merged_note(path: Path) -> Path:
    def edit(book: Any) -> None:
        for row in (HEADER, KIM, ["문서 끝입니다"]):
            book.active.append(row)
        book.active.merge_cells("A3:B3")

    return edited(path, edit)


def siblings_with_names_like_notes(path: Path) -> Path:
    """Rows of one own cell: a sibling below a merged phone, and a name without any phone."""

    def edit(book: Any) -> None:
        rows = (
            HEADER,
            KIM,
            ["문의현"],
            ["주의"],
            ["이바다"],
            ["주의영"],
            ["문의처"],
            ["문의는 전화로"],
        )
        for row in rows:
            book.active.append([row[0], None, *row[1:]])
        book.active.merge_cells("C2:C5")
        book.active.merge_cells("A5:B5")

    return edited(path, edit)


def notes_beside_a_merged_grade(path: Path) -> Path:
    """A grade that is merged over the rows of a note does not make a student of it."""

    def edit(book: Any) -> None:
        for row in (["학년", *HEADER], [3, *KIM], [None, "※ 전학 예정"], [None, *LEE]):
            book.active.append(row)
        book.active.merge_cells("A2:A4")

    return edited(path, edit)


def names_merged_over_two_columns(path: Path) -> Path:
    """As their heading is: a row without a phone is refused, and a wider one is a note."""

    def edit(book: Any) -> None:
        for name, phone_text in (HEADER, KIM, ["박구름", None], ["문서 끝입니다", None]):
            book.active.append([name, None, phone_text])
        for cells in ("A1:B1", "A2:B2", "A3:B3", "A4:C4"):
            book.active.merge_cells(cells)

    return edited(path, edit)


def cover_sheet_first(path: Path) -> Path:
    def edit(book: Any) -> None:
        book.active.append(["안내", "이 파일은"])
        book.create_sheet("빈 시트")
        for name, rows in (("명부", [HEADER, KIM]), ("작년", [HEADER, LEE])):
            sheet = book.create_sheet(name)
            for row in rows:
                sheet.append(row)

    return edited(path, edit)


def hidden_sheet_first(path: Path) -> Path:
    with xlsxwriter.Workbook(path) as book:
        hidden, shown = book.add_worksheet("old"), book.add_worksheet("new")
        for sheet, student in ((hidden, KIM), (shown, LEE)):
            sheet.write_row(0, 0, HEADER)
            sheet.write_row(1, 0, student)
        hidden.hide()
        shown.activate()
    return path


def chart_sheet_first(path: Path) -> Path:
    def edit(book: Any) -> None:
        for row in (HEADER, KIM):
            book.active.append(row)
        book.create_chartsheet("도표", 0)

    return edited(path, edit)


def calculated_formulas(path: Path) -> Path:
    source = path.with_suffix(".source")
    with xlsxwriter.Workbook(source) as book:
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, HEADER)
        sheet.write_formula(1, 0, '="김"&"하늘"', None, "김하늘")
        sheet.write_formula(1, 1, '="010"&"00000001"', None, phone(1))
        sheet.write_formula(2, 0, '=IF(A2="",A2,"")', None, "")
    # As spreadsheet programs say that a text came out empty; the library does not.
    written = part(source, "xl/worksheets/sheet1.xml")
    changed = written.replace(b'<c r="A3"><f>', b'<c r="A3" t="str"><f>')
    assert changed != written
    return repacked(source, path, {"xl/worksheets/sheet1.xml": changed})


def cells_in_error(path: Path) -> Path:
    rows = [HEADER, ["#N/A", phone(1)], ["이", "#REF!"], KIM]
    return with_openpyxl(path, rows)


def booleans_and_numbers_as_names(path: Path) -> Path:
    return with_xlsxwriter(path, [HEADER, [True, phone(1)], [7, phone(2)], ["a", True]])


def rich_text(path: Path) -> Path:
    name = CellRichText(["김", TextBlock(InlineFont(b=True), "하늘")])
    return with_openpyxl(path, [HEADER, [name, phone(1)]])


def headings_over_lines_and_with_marks(path: Path) -> Path:
    return with_xlsxwriter(
        path, [["순번", "이름\n(필수)*", "학부모\r\n전화 번호"], [1, *KIM], [2, *LEE]]
    )


def numbered_ahead(path: Path) -> Path:
    rows = [["No", *HEADER], [1, *KIM], *([number] for number in range(2, 40))]
    return with_openpyxl(path, rows)


def header_on_every_page(path: Path) -> Path:
    return with_xlsxwriter(path, [HEADER, KIM, HEADER, LEE])


def names_to_clean(path: Path) -> Path:
    names = ["  김\u200b하늘 ", "이\n바다", "박\u1112\u1161\u11ab", "x" * 101]
    return with_openpyxl(path, [HEADER, *([name, phone(i)] for i, name in enumerate(names))])


def same_pair_twice(path: Path) -> Path:
    return with_xlsxwriter(path, [HEADER, KIM, LEE, ["김하늘 ", 1000000001], ["김하늘", phone(2)]])


def cell_far_below(path: Path) -> Path:
    def edit(book: Any) -> None:
        for row in (HEADER, KIM):
            book.active.append(row)
        book.active.cell(1_048_576, 1, " ")

    return edited(path, edit)


def a_million_empty_columns(path: Path) -> Path:
    """Empty cells with a style, beyond the last possible column."""
    source = with_openpyxl(path.with_suffix(".source"), [HEADER, KIM])
    sheet = part(source, "xl/worksheets/sheet1.xml")
    cells = b"".join(b'<c r="%s2" s="0"/>' % _column(n) for n in range(3, 1_000_000, 10))
    cols = b'<cols><col min="1" max="1000000" width="9"/></cols><sheetData>'
    sheet = sheet.replace(b"<sheetData>", cols).replace(
        b"</row></sheetData>", cells + b"</row></sheetData>"
    )
    assert cells in sheet
    return repacked(source, path, {"xl/worksheets/sheet1.xml": sheet})


def _column(number: int) -> bytes:
    letters = b""
    while number:
        number, rest = divmod(number - 1, 26)
        letters = bytes([65 + rest]) + letters
    return letters


def dimension_that_lies(path: Path) -> Path:
    source = with_openpyxl(path.with_suffix(".source"), [HEADER, KIM])
    sheet = part(source, "xl/worksheets/sheet1.xml")
    changed = sheet.replace(b'ref="A1:B2"', b'ref="A1:XFD1048576"')
    assert changed != sheet
    return repacked(source, path, {"xl/worksheets/sheet1.xml": changed})


def hyperlinks(path: Path) -> Path:
    """Hyperlinks in cells are not links to workbooks."""
    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, [*HEADER, "메일"])
        sheet.write_row(1, 0, KIM)
        sheet.write_url(1, 2, "mailto:kim@example.org")
    return path


def only_a_header(path: Path) -> Path:
    return with_xlsxwriter(path, [HEADER])


AWKWARD: list[tuple[Write, list[tuple[Any, ...]]]] = [
    (plain, [(2, *KIM), (3, *LEE)]),
    (english_in_another_order, [(2, "Kim", phone(1))]),
    (texts_in_their_cells, [(2, *KIM), (3, *LEE)]),
    (merged_title_rows, [(6, *KIM), (7, *LEE)]),
    (merged_titles_and_blank_rows, [(13, *KIM), (20, *LEE)]),
    (table_in_a_corner, [(6, *KIM), (8, *LEE)]),
    (
        phones_as_numbers,
        [(2, "김", "01012345678"), (3, "이", "01012345679"), (4, "박", NO_PHONE),
         (5, "최", "01011112222")],
    ),
    (
        phones_as_texts,
        [(2, "학1", phone(1)), (3, "학2", phone(2)), (4, "학3", phone(3)), (5, "학0", phone(4)),
         (6, "학5", phone(5)), (7, "학6", phone(6)), (8, "학)", phone(7)), (9, "학3", NO_PHONE)],
    ),
    (
        dates_where_none_belong,
        [(2, "2024-03-01", "이름 칸에 날짜가 있습니다."), (3, "이", NO_PHONE), (4, "박", phone(3))],
    ),
    (dates_by_number_format, [(2, "2024-03-01", "이름 칸에 날짜가 있습니다."), (3, *KIM)]),
    (blank_and_coloured_rows, [(2, *KIM), (6, *LEE)]),
    (trailing_notes, [(2, *KIM), (7, "홍길동", NO_PHONE)]),
    (trailing_merged_note, [(2, *KIM)]),
    (
        siblings_with_names_like_notes,
        [(2, *KIM), (3, "문의현", KIM[1]), (4, "주의", KIM[1]), (5, "이바다", KIM[1]),
         (6, "주의영", NO_PHONE)],
    ),
    (notes_beside_a_merged_grade, [(2, *KIM), (4, *LEE)]),
    (names_merged_over_two_columns, [(2, *KIM), (3, "박구름", NO_PHONE)]),
    (cover_sheet_first, [(2, *KIM)]),
    (hidden_sheet_first, [(2, *LEE)]),
    (chart_sheet_first, [(2, *KIM)]),
    (calculated_formulas, [(2, *KIM)]),
    (cells_in_error, [(2, "(이름 없음)", NO_NAME), (3, "이", NO_PHONE), (4, *KIM)]),
    (
        booleans_and_numbers_as_names,
        [(2, "True", phone(1)), (3, "7", phone(2)), (4, "a", NO_PHONE)],
    ),
    (rich_text, [(2, *KIM)]),
    (headings_over_lines_and_with_marks, [(2, *KIM), (3, *LEE)]),
    (numbered_ahead, [(2, *KIM)]),
    (header_on_every_page, [(2, *KIM), (4, *LEE)]),
    (
        names_to_clean,
        [(2, "김하늘", phone(0)), (3, "이 바다", phone(1)), (4, "박한", phone(2)),
         (5, "x" * 100, "이름이 100자를 넘습니다.")],
    ),
    (
        same_pair_twice,
        [(2, *KIM), (3, *LEE), (4, "김하늘", "2행과 이름, 학부모 전화번호가 같습니다."),
         (5, "김하늘", phone(2))],
    ),
    (cell_far_below, [(2, *KIM)]),
    (a_million_empty_columns, [(2, *KIM)]),
    (dimension_that_lies, [(2, *KIM)]),
    (hyperlinks, [(2, *KIM)]),
    (only_a_header, []),
]  # fmt: skip


@pytest.mark.parametrize(("write", "rows"), AWKWARD, ids=[write.__name__ for write, _ in AWKWARD])
def test_awkward_workbook__gives_its_rows(
    write: Write, rows: list[tuple[Any, ...]], tmp_path: Path
) -> None:
    assert rows_of(write(tmp_path / "명부 (최종).xlsx")) == rows


def test_rows__are_told_of_while_they_are_checked(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    path = with_xlsxwriter(
        tmp_path / "a.xlsx", [HEADER, *([f"n{i}", phone(i)] for i in range(1_200))]
    )
    with read_workbook(path, lambda row, last: told.append((row, last))) as reading:
        assert reading.sheet == "명부"
        assert reading.total == 1_200
    assert told == [(2, 1_201), (502, 1_201), (1_002, 1_201)]

"""Names without a visible letter, values merged downwards, and what cells can hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import xlsxwriter  # type: ignore[import-untyped]

from tests.support.workbooks import edited, part, phone, repacked, with_openpyxl, with_xlsxwriter
from tests.workers.roster.test_workbooks import HEADER, KIM, LEE, NO_NAME, NO_PHONE, rows_of
from workers.roster.reader_client import read_workbook
from workers.roster.table.rows import Refused, Student, check_row
from workers.roster.xlsx.cells import clean
from workers.roster.xlsx.formats import date_text, is_date_format

SHEET = "xl/worksheets/sheet1.xml"
INVISIBLE = [
    *map(chr, range(0x200B, 0x2010)), *map(chr, range(0x202A, 0x202F)),
    *map(chr, range(0x2060, 0x2070)), *map(chr, range(0xFE00, 0xFE10)),
    *map(chr, range(0x180B, 0x1810)), "\u00ad", "\u034f", "\u061c", "\u115f", "\u1160", "\u17b4",
    "\u17b5", "\u2800", "\u3164", "\ufeff", "\uffa0", "\ufff9", "\ue000", "\U000e0001",
    "\U000e0041", "\U000e0100", "\U000e01ef", "\U0001d159", "\U0001d173", "\U0001bca0", "\x00",
    "\x1f", "\x7f", "\x85", "\u2028",
]  # fmt: skip


@pytest.mark.parametrize("letter", INVISIBLE, ids=[f"U+{ord(each):04X}" for each in INVISIBLE])
def test_invisible_letter__makes_no_name_and_no_other_name(letter: str) -> None:
    refused = check_row(2, {"name": clean(letter * 3), "parent_phone": phone(1)})
    assert isinstance(refused, Refused)
    assert refused.error == NO_NAME
    assert clean(f"{letter}김하늘{letter}") == "김하늘"
    if not letter.isspace():
        assert clean(f"김{letter}하{letter}{letter}늘") == "김하늘"


@pytest.mark.parametrize("name", ["-", "--", ".", "?", "…", "★", "\u0301", "()", "😀", "ー"[:0]])
def test_name_without_a_letter__is_missing(name: str) -> None:
    row = check_row(2, {"name": clean(name), "parent_phone": phone(1)})
    assert isinstance(row, Refused)
    assert row.error == NO_NAME


@pytest.mark.parametrize("name", ["김", "O", "Nguyễn Văn A", "三郎", "7", "José", "Ян", "ㅇㅇ"])
def test_name_with_a_letter__is_a_name(name: str) -> None:
    row = check_row(2, {"name": clean(name), "parent_phone": phone(1)})
    assert isinstance(row, Student)
    assert row.name == name


def test_same_student_with_invisible_letters__is_one(tmp_path: Path) -> None:
    names = ["김하늘", "김하늘\u3164", "\u200b김\u2060하늘", "김\u1112\u1161\u2800늘", "\u3164"]
    path = with_openpyxl(tmp_path / "a.xlsx", [HEADER, *([name, phone(1)] for name in names)])
    same = "2행과 이름, 학부모 전화번호가 같습니다."
    assert rows_of(path) == [
        (2, "김하늘", phone(1)),
        *((row, "김하늘", same) for row in (3, 4, 5)),
        (6, "(이름 없음)", NO_NAME),
    ]


def students(path: Path) -> list[tuple[int, str, str, str | None]]:
    with read_workbook(path) as reading:
        return [
            (row.row, row.name, row.parent_phone, row.school)
            for row in reading.rows
            if isinstance(row, Student)
        ]


def siblings(path: Path, *ranges: str, rows: Any = None) -> Path:
    def edit(book: Any) -> None:
        sheet = book.active
        given = rows or [
            ["김하늘", phone(1), "한빛고"],
            ["김바다", None, None],
            ["김구름", None, None],
            ["이산", phone(2), "숲속중"],
        ]
        for row in ([*HEADER, "학교"], *given):
            sheet.append(row)
        for each in ranges:
            sheet.merge_cells(each)

    return edited(path, edit)


def test_values_merged_downwards__are_each_rows(tmp_path: Path) -> None:
    assert students(siblings(tmp_path / "a.xlsx", "B2:B4", "C2:C3")) == [
        (2, "김하늘", phone(1), "한빛고"),
        (3, "김바다", phone(1), "한빛고"),
        (4, "김구름", phone(1), None),
        (5, "이산", phone(2), "숲속중"),
    ]


def test_values_merged_downwards_over_many_rows__are_each_rows(tmp_path: Path) -> None:
    """A merged range may continue in the next batch of rows."""
    path = tmp_path / "a.xlsx"
    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, [*HEADER, "학교"])
        sheet.merge_range(1, 2, 1_500, 2, "한빛고")
        for number in range(1, 1_501):
            sheet.write_row(number, 0, [f"학생{number}", phone(number)])
        sheet.merge_range(1_501, 1, 1_700, 1, phone(9_999))  # more rows than students
        sheet.write(1_501, 0, "이바다")
    found = students(path)
    assert len(found) == 1_501
    assert {school for *_, school in found[:-1]} == {"한빛고"}
    assert found[-1] == (1_502, "이바다", phone(9_999), None)


def test_range_merged_across__is_its_first_columns_alone(tmp_path: Path) -> None:
    rows = [["김하늘", phone(1), None], ["김바다", None, None]]
    assert students(siblings(tmp_path / "a.xlsx", "B2:C3", rows=rows)) == [
        (2, "김하늘", phone(1), None),
        (3, "김바다", phone(1), None),
    ]
    rows = [["김하늘", None, "한빛고"], ["김바다", phone(2), "한빛고"]]
    assert students(siblings(tmp_path / "b.xlsx", "A2:B2", rows=rows)) == [
        (3, "김바다", phone(2), "한빛고")
    ]


def test_merged_rows_of_one_student__are_one(tmp_path: Path) -> None:
    rows = [["김하늘", phone(1), "한빛고"], [None, None, None], ["이산", phone(2), None]]
    path = siblings(tmp_path / "a.xlsx", "A2:A3", "B2:B3", "C2:C3", rows=rows)
    assert students(path) == [(2, "김하늘", phone(1), "한빛고"), (4, "이산", phone(2), None)]
    rows = [["김하늘", phone(1), "한빛고"], [None, phone(3), None]]
    path = siblings(tmp_path / "b.xlsx", "A2:A3", rows=rows)
    assert rows_of(path) == [
        (2, "김하늘", phone(1)),
        (3, "김하늘", "이름이 위 행과 병합되어 있습니다. 학생마다 한 행에 적어 주세요."),
    ]


def test_header_merged_downwards__is_no_student(tmp_path: Path) -> None:
    def edit(book: Any) -> None:
        for row in ([*HEADER, "학교"], [], [*KIM, "한빛고"]):
            book.active.append(row)
        book.active.cell(3, 1, KIM[0])
        for each in ("A1:A2", "B1:B2", "C1:C2"):
            book.active.merge_cells(each)

    [student] = students(edited(tmp_path / "a.xlsx", edit))
    assert student[1:] == (*KIM, "한빛고")


def test_value_hidden_under_a_merge__does_not_count(tmp_path: Path) -> None:
    source = siblings(tmp_path / "source.xlsx", rows=[
        ["김하늘", phone(1), "한빛고"], ["김바다", phone(77), "한빛고"]])  # fmt: skip
    merge = b'</sheetData><mergeCells count="1"><mergeCell ref="B2:B3"/></mergeCells>'
    sheet = part(source, SHEET).replace(b"</sheetData>", merge)
    path = repacked(source, tmp_path / "a.xlsx", {SHEET: sheet})
    assert rows_of(path) == [(2, "김하늘", phone(1)), (3, "김바다", phone(1))]


def test_pronunciation__is_no_part_of_a_name(tmp_path: Path) -> None:
    source = with_xlsxwriter(tmp_path / "source.xlsx", [HEADER, ["NAME", phone(1)]])
    strings = part(source, "xl/sharedStrings.xml").replace(
        b"<si><t>NAME</t></si>",
        "<si><r><t>佐</t></r><r><t>藤</t></r><rPh sb='0' eb='2'><t>サトウ</t></rPh>"
        "<phoneticPr fontId='1'/></si>".encode(),
    )
    path = repacked(source, tmp_path / "a.xlsx", {"xl/sharedStrings.xml": strings})
    assert rows_of(path) == [(2, "佐藤", phone(1))]


def test_hidden_rows_and_columns__count(tmp_path: Path) -> None:
    with xlsxwriter.Workbook(tmp_path / "a.xlsx") as book:
        sheet = book.add_worksheet()
        for number, row in enumerate((HEADER, KIM, LEE)):
            sheet.write_row(number, 0, row)
        sheet.autofilter(0, 0, 2, 1)
        sheet.set_row(1, None, None, {"hidden": True})
        sheet.set_column(1, 1, None, None, {"hidden": True})
    assert rows_of(tmp_path / "a.xlsx") == [(2, *KIM), (3, *LEE)]


@pytest.mark.parametrize(
    ("column", "refused"), [(0, True), (1, True), (2, True), (3, False)],
    ids=["name", "phone", "school", "no field"],
)  # fmt: skip
def test_formula_without_a_value__is_refused_where_it_counts(
    column: int, *, refused: bool, tmp_path: Path
) -> None:
    row = [*KIM, "한빛고", "x"]
    row[column] = '="a"'
    path = with_openpyxl(tmp_path / "a.xlsx", [[*HEADER, "학교", "합계"], row])
    if refused:
        with pytest.raises(Exception, match="formulas that were never calculated"):
            rows_of(path)
    else:
        assert rows_of(path) == [(2, *KIM)]


def test_formula_without_a_value_in_the_header__says_so(tmp_path: Path) -> None:
    path = with_openpyxl(tmp_path / "a.xlsx", [['="이름"', "학부모 연락처"], KIM])
    with pytest.raises(Exception, match="formulas that were never calculated"):
        rows_of(path)


@pytest.mark.parametrize(
    ("code", "is_date"),
    [("General", False), ("0", False), ("000-0000-0000", False), ("@", False), ("yyyy-mm-dd", True),
     ('yyyy"년" m"월" d"일"', True), ('0"명"', False), ("#,##0_ ", False), ("[h]:mm", True),
     ("[Red]0", False), ("[$-412]AM/PM h:mm", True), ("[<=9999999]###-####;(0##) ###-####", False),
     ("0.00E+00", False), (r"\d0", False), ("[$-ko-KR]yyyy/m/d", True), ("[ss]", True),
     ("* 0", False), ("m월 d일", True)],
)  # fmt: skip
def test_number_format(code: str, *, is_date: bool) -> None:
    assert is_date_format(code) == is_date


@pytest.mark.parametrize(
    ("serial", "from_1904", "text"),
    [(45_352, False, "2024-03-01"), (43_890, True, "2024-03-01"), (1, False, "1900-01-01"),
     (59, False, "1900-02-28"), (61, False, "1900-03-01"), (0.5, False, "12:00:00"),
     (45_352.5, False, "2024-03-01 12:00:00"), (0, True, "00:00:00"), (2_958_465, False,
     "9999-12-31"), (2_958_466, False, None), (-1, False, None), (float("nan"), False, None)],
)  # fmt: skip
def test_serial_number_of_a_date(serial: float, text: str | None, *, from_1904: bool) -> None:
    assert date_text(serial, from_1904=from_1904) == text


def test_text_over_lines__is_one_line(tmp_path: Path) -> None:
    rows = [HEADER, ["김\n하늘", "010-0000\r\n-0001"], ["이바다", f"{phone(2)}\n(모)"]]
    assert rows_of(with_openpyxl(tmp_path / "a.xlsx", rows)) == [
        (2, "김 하늘", phone(1)),
        (3, "이바다", phone(2)),
    ]


def test_names_that_begin_like_formulas__are_kept_as_typed(tmp_path: Path) -> None:
    names = ["=cmd|' /C calc'!A0", "+김", "-김", "@김"]
    path = tmp_path / "a.xlsx"
    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, HEADER)
        for number, name in enumerate(names, start=1):
            sheet.write_string(number, 0, name)
            sheet.write_string(number, 1, phone(number))
    assert [name for _, name, _ in rows_of(path)] == names


def test_phone_in_error_as_text__has_no_number(tmp_path: Path) -> None:
    path = with_xlsxwriter(tmp_path / "a.xlsx", [HEADER, KIM, ["이바다", "#N/A"]])
    assert rows_of(path) == [(2, *KIM), (3, "이바다", NO_PHONE)]

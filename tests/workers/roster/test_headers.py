"""The header: its row and columns, from the headings and the cells below them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.workbooks import edited, phone, with_xlsxwriter
from tests.workers.roster.test_workbooks import KIM, LEE, rows_of
from workers.roster.errors import RosterError
from workers.roster.reader_client import read_workbook
from workers.roster.table.rows import Student

MOTHERS = "박정숙", "최은영"
OWN = phone(50_000_001), phone(50_000_002)
STUDENTS = [(KIM[0], MOTHERS[0], KIM[1], OWN[0]), (LEE[0], MOTHERS[1], LEE[1], OWN[1])]


def table(words: list[str], order: str) -> list[list[Any]]:
    """Return a header and its rows; `order` has the field of each column."""
    places = {"name": 0, "parent": 1, "phone": 2, "own": 3}
    return [words, *([each[places[word]] for word in order.split()] for each in STUDENTS)]


@pytest.mark.parametrize(
    ("words", "order"),
    [
        (["이름", "보호자", "보호자 연락처"], "name parent phone"),
        (["이름", "학부모", "학부모 연락처"], "name parent phone"),
        (["Name", "Guardian", "Guardian phone"], "name parent phone"),
        (["Name", "Parent Contact Name", "Parent Contact"], "name parent phone"),
        (["Student", "Parent Name", "Parent Mobile", "Mobile"], "name parent phone own"),
        (["보호자 연락처", "보호자", "이름"], "phone parent name"),
        (["이름", "보호자"], "name phone"),
        (["학생", "학부모"], "name phone"),
        (["이름", "어머니"], "name phone"),
        (["이름", "모"], "name phone"),
        (["학생명", "보호자명", "보호자HP"], "name parent phone"),
        (["학생", "모 성함", "모 연락처", "학생 연락처"], "name parent phone own"),
        (["성명", "보호자", "연락처"], "name parent phone"),
        (["이름", "연락처", "보호자", "연락처"], "name own parent phone"),
        (["이름", "학부모 연락처", "학부모 성함"], "name parent phone"),
        (["이름", "보호자 이름", "전화"], "name phone own"),
        (["학생", "이름", "학부모 전화"], "own name phone"),
        (["보호자", "이름", "보호자", "연락처"], "parent name phone own"),
        (["Guardian", "Student name", "Student phone", "Guardian's cell"], "parent name own phone"),
        (["Name", "Parent", "Parent No."], "name parent phone"),
        (["이름", "학부모 전번"], "name phone"),
        (["부모님", "학생이름", "H.P", "부모님 H.P"], "parent name own phone"),
    ],
)
def test_columns__are_chosen_by_words_and_by_cells(
    words: list[str], order: str, tmp_path: Path
) -> None:
    path = with_xlsxwriter(tmp_path / "a.xlsx", table(words, order))
    assert rows_of(path) == [(2, *KIM), (3, *LEE)]


def test_own_phone_and_parents__are_told_apart(tmp_path: Path) -> None:
    words = ["이름", "연락처", "보호자", "연락처"]
    path = with_xlsxwriter(tmp_path / "a.xlsx", table(words, "name own parent phone"))
    with read_workbook(path) as reading:
        students = [row for row in reading.rows if isinstance(row, Student)]
    assert [(row.parent_phone, row.phone) for row in students] == [
        (KIM[1], OWN[0]),
        (LEE[1], OWN[1]),
    ]


def grouped(
    path: Path, groups: dict[str, str], words: list[str], order: str, *, top: int = 0
) -> Path:
    """Write a header of two rows; `groups` has the cell or range of each group's heading."""

    def edit(book: Any) -> None:
        sheet = book.active
        for number in range(1, top + 1):
            sheet.cell(number, 1, f"원생 명부 {number}")
        for place, text in groups.items():
            first, _, last = place.partition(":")
            sheet[f"{first[0]}{top + int(first[1:])}"] = text
            if last:
                sheet.merge_cells(
                    f"{first[0]}{top + int(first[1:])}:{last[0]}{top + int(last[1:])}"
                )
        for number, row in enumerate(table(words, order), start=top + 2):
            for column, value in enumerate(row, start=1):
                if value:
                    sheet.cell(number, column, value)

    return edited(path, edit)


@pytest.mark.parametrize("top", [0, 3])
@pytest.mark.parametrize(
    ("groups", "words", "order"),
    [
        ({"A1:B1": "학생", "C1:D1": "학부모"}, ["이름", "연락처", "이름", "연락처"],
         "name own parent phone"),
        ({"A1:B1": "학부모", "C1:D1": "학생"}, ["성명", "휴대폰", "성명", "휴대폰"],
         "parent phone name own"),
        ({"A1": "학생", "C1": "학부모"}, ["이름", "연락처", "이름", "연락처"],
         "name own parent phone"),
        ({"A1:B1": "학생 정보", "C1:D1": "보호자 정보"}, ["성명", "H.P", "성명", "H.P"],
         "name own parent phone"),
        ({"A1:B1": "Student", "C1:D1": "Parent"}, ["Name", "Phone", "Name", "Phone"],
         "name own parent phone"),
        ({"A1:A2": "이름", "B1:C1": "연락처"}, ["", "학생", "학부모"], "name own phone"),
        ({"A1": "이름", "B1": "연락처"}, ["", "학생", "학부모"], "name own phone"),
        ({"A1:A2": "이름", "B1:C1": "학부모"}, ["", "성함", "연락처"], "name parent phone"),
        ({"A1:B1": "학생", "C1:D1": "학부모"}, ["이름", "연락처", "모", "부"],
         "name own phone own"),
        ({"A1": "학생", "B1:C1": "학부모"}, ["이름", "이름", "연락처"], "name parent phone"),
    ],
)  # fmt: skip
def test_grouped_header__is_read_with_its_groups(
    groups: dict[str, str], words: list[str], order: str, top: int, tmp_path: Path
) -> None:
    path = grouped(tmp_path / "a.xlsx", groups, words, order, top=top)
    assert rows_of(path) == [(top + 3, *KIM), (top + 4, *LEE)]


def test_title_above_the_header__is_no_group(tmp_path: Path) -> None:
    def edit(book: Any) -> None:
        sheet = book.active
        sheet.append(["학부모 연락처"])
        sheet.merge_cells("A1:C1")
        for row in (["이름", "학부모 연락처", "연락처"], [*KIM, OWN[0]]):
            sheet.append(row)

    assert rows_of(edited(tmp_path / "a.xlsx", edit)) == [(3, *KIM)]


def test_groups_on_every_page__are_no_students(tmp_path: Path) -> None:
    page = [["학생", None, "학부모"], ["이름", "연락처", "이름", "연락처"]]
    rows = [[*page, [each[0], each[3], each[1], each[2]]] for each in STUDENTS]
    path = with_xlsxwriter(tmp_path / "a.xlsx", [row for each in rows for row in each])
    assert rows_of(path) == [(3, *KIM), (6, *LEE)]


def test_header_on_a_later_page__takes_no_student_from_the_first(tmp_path: Path) -> None:
    """The header of the first page is used, even if all its phone numbers are wrong."""
    header = ["이름", "학부모 연락처"]
    bad = [[f"학생{'가나다라마바사아자차'[n]}", "없음"] for n in range(9)]
    path = with_xlsxwriter(tmp_path / "a.xlsx", [header, *bad, KIM, header, LEE])
    assert len(rows_of(path)) == 11


def test_two_phones_of_parents__the_left_one_that_has_any(tmp_path: Path) -> None:
    rows = [["이름", "연락처(부)", "연락처(모)"], [KIM[0], "", KIM[1]], [LEE[0], "", LEE[1]]]
    assert rows_of(with_xlsxwriter(tmp_path / "a.xlsx", rows)) == [(2, *KIM), (3, *LEE)]
    rows = [["이름", "연락처(부)", "연락처(모)"], [*KIM, phone(8)], [*LEE, phone(9)]]
    assert rows_of(with_xlsxwriter(tmp_path / "b.xlsx", rows)) == [(2, *KIM), (3, *LEE)]


def test_header_in_row_50__is_found_and_in_row_51_not(tmp_path: Path) -> None:
    rows = [["이름", "보호자", "보호자 연락처"], [KIM[0], MOTHERS[0], KIM[1]]]
    found = with_xlsxwriter(tmp_path / "a.xlsx", rows, top=49)
    assert rows_of(found) == [(51, *KIM)]
    with pytest.raises(RosterError, match="no visible sheet has a header"):
        rows_of(with_xlsxwriter(tmp_path / "b.xlsx", rows, top=50))


def test_sheet_with_a_header_alone__gives_way_to_one_with_students(tmp_path: Path) -> None:
    def edit(book: Any) -> None:
        book.active.title = "양식"
        book.active.append(["이름", "학부모 연락처"])
        sheet = book.create_sheet("3월")
        for row in (["이름", "학부모 연락처"], KIM):
            sheet.append(row)

    with read_workbook(edited(tmp_path / "a.xlsx", edit)) as reading:
        assert (reading.sheet, reading.total) == ("3월", 1)


def test_parents_names_without_their_phones__no_header(tmp_path: Path) -> None:
    path = with_xlsxwriter(tmp_path / "a.xlsx", table(["이름", "보호자"], "name parent"))
    with pytest.raises(RosterError, match="no visible sheet has a header"):
        rows_of(path)

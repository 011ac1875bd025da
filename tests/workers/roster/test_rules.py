"""The rules for one row: phones, schools, grades, names, headings, cells."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.roster.reader_process import check_all
from workers.roster.table.heading_words import claims_of, field_of
from workers.roster.table.phones import normalise_phone
from workers.roster.table.rows import Refused, Student, check_row, gender_value
from workers.roster.table.schools import grade_value, school_type
from workers.roster.table.sheets import TextRow
from workers.roster.xlsx.cells import Dated, cell_text, clean, number_text
from workers.roster.xlsx.scratch import Scratch

mobiles = st.from_regex(r"010[0-9]{8}", fullmatch=True)
separators = st.sampled_from(["", "-", " ", ".", " - ", "–", ")", "·", "/"])


@given(
    mobiles, separators, separators, st.sampled_from(["010", "10", "+82 10", "82-010", "0082 10"])
)
def test_phone__however_written__is_its_eleven_digits(
    number: str, one: str, two: str, start: str
) -> None:
    written = f" {start}{one}{number[3:7]}{two}{number[7:]} "
    assert normalise_phone(written) == number


@given(mobiles)
def test_phone__stored_as_a_number__gets_its_zero_back(number: str) -> None:
    for stored in (f"{int(number)}", f"{int(number)}.0", f"{int(number):.9E}", repr(float(number))):
        assert normalise_phone(number_text(stored)) == number


@given(mobiles)
def test_phone__wide_digits__are_digits(number: str) -> None:
    wide = number.translate({ord("0") + digit: chr(0xFF10 + digit) for digit in range(10)})
    assert normalise_phone(wide) == number


@given(st.text(st.sampled_from("0123456789-+ .a가٣②"), max_size=16))
def test_phone__any_text__is_none_or_of_the_form_and_stays_itself(text: str) -> None:
    found = normalise_phone(text)
    if found is not None:
        assert len(found) == 11
        assert found.isascii()
        assert found.isdecimal()
        assert found.startswith("010")
        assert normalise_phone(found) == found


@pytest.mark.parametrize(
    "text",
    ["", "010", "010-1234-567", "010-1234-56789", "011-234-5678", "02-123-4567", "1.01235E+09",
     "010-1234-5678 / 010-8765-4321", "없음", "٠١٠١٢٣٤٥٦٧٨", "2024-03-01"],
)  # fmt: skip
def test_phone__not_a_mobile_number__none(text: str) -> None:
    assert normalise_phone(text) is None


@pytest.mark.parametrize(
    ("name", "stated", "grade", "kind"),
    [
        ("서울고등학교", "", "", "HIGH"),
        ("휘문고", "", "", "HIGH"),
        ("숙명여고", "", "", "HIGH"),
        ("고려중학교", "", "", "MIDDLE"),
        ("단대부중", "", "", "MIDDLE"),
        ("중앙고등학교", "", "", "HIGH"),
        ("고산초등학교", "", "", "ELEMENTARY"),
        ("대도초", "", "", "ELEMENTARY"),
        ("Seoul High School", "", "", "HIGH"),
        ("Hanbit Middle School", "", "", "MIDDLE"),
        ("Junior High School", "", "", "HIGH"),
        ("한빛", "중학교", "", "MIDDLE"),
        ("한빛", "HIGH", "", "HIGH"),
        ("한빛고", "middle", "", "MIDDLE"),
        ("한빛", "", "고2", "HIGH"),
        ("한빛", "", "2", "OTHER"),
        ("한빛 학원", "", "", "OTHER"),
    ],
)
def test_school_type(name: str, stated: str, grade: str, kind: str) -> None:
    assert school_type(name, stated, grade) == kind


@pytest.mark.parametrize(
    ("text", "grade"),
    [("3", 3), ("고3", 3), ("2학년", 2), ("중 1", 1), ("초6", 6), ("３", 3), ("Grade 2", 2),
     ("", None), ("0", None), ("7", None), ("10", None), ("N수", None), ("1-2", None)],
)  # fmt: skip
def test_grade(text: str, grade: int | None) -> None:
    assert grade_value(text) == grade


@pytest.mark.parametrize(
    ("text", "gender"),
    [("남", "M"), ("여자", "F"), ("Male", "M"), ("f", "F"), ("Ｍ", "M"), ("", None), ("?", None)],
)
def test_gender(text: str, gender: str | None) -> None:
    assert gender_value(text) == gender


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("1012345678.0", "1012345678"),
        ("2.50", "2.50"),
        ("#N/A", ""),
        ("  홍\n길동\t", "홍 길동"),
        ("홍\u200b길\x07동\x00", "홍길동"),
        ("\u1112\u1169\u11bc", "홍"),
        ("\u1112\u200b\u1169\u2060\u11bc", "홍"),
    ],
)
def test_cell(value: str, text: str) -> None:
    assert cell_text(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [("1012345678", "1012345678"), ("1.012345678E9", "1012345678"), ("3.0", "3"), ("2.5", "2.5"),
     ("007", "7"), ("-3", "-3"), ("1e300", "1e+300"), ("NaN", ""), ("1e999", ""),
     ("99999999999999999999", "1e+20"), ("x", "x")],
)  # fmt: skip
def test_number(value: str, text: str) -> None:
    assert number_text(value) == text


@given(st.text())
def test_clean__any_text__is_printable_and_stays_itself(text: str) -> None:
    cleaned = clean(text)
    assert clean(cleaned) == cleaned
    assert cleaned == cleaned.strip()
    assert cleaned.isprintable()


@pytest.mark.parametrize(
    ("heading", "field"),
    [
        ("이름", "name"), ("학생 이름*", "name"), ("성명(필수)", "name"), ("Student Name", "name"),
        ("student_name", "name"), ("학부모 이름", None), ("보호자 성명", None),
        ("학부모전화번호", "parent_phone"), ("전화번호(학부모)", "parent_phone"),
        ("연락처(모)", "parent_phone"), ("모 연락처", "parent_phone"),
        ("보호자 H.P", "parent_phone"),
        ("parentPhone", "parent_phone"), ("parent_phone", "parent_phone"),
        ("Parent's mobile", "parent_phone"), ("Guardian contact", "parent_phone"),
        ("전화번호", "phone"), ("학생 휴대폰", "phone"), ("H.P", "phone"), ("phone", "phone"),
        ("비상연락처", None), ("담임 연락처", None), ("자택 전화", None),
        ("학교", "school"), ("학교명", "school"), ("학교급", "school_type"), ("school_type",
        "school_type"), ("학년", "grade"), ("반", "high_school_class"), ("계열", "major"),
        ("성별", "gender"), ("Gender", "gender"), ("비고", "memo"), ("ＭＥＭＯ", "memo"),
        ("번호", None), ("생년월일", None), ("", None),
    ],
)  # fmt: skip
def test_heading(heading: str, field: str | None) -> None:
    assert field_of(heading) == field


@pytest.mark.parametrize(
    ("group", "heading", "field"),
    [("학부모", "연락처", "parent_phone"), ("학부모", "비고", "memo"),
     ("보호자 정보", "메모", "memo"),
     ("학생", "이름", "name"), ("학생 정보", "학년", "grade"), ("학부모", "이름", "parent")],
)  # fmt: skip
def test_heading_below_a_group(group: str, heading: str, field: str) -> None:
    claims = claims_of(heading, group)
    assert max(claims, key=lambda each: claims[each]) == field


def test_row__name_is_asked_for_before_the_phone() -> None:
    assert check_row(3, {"memo": "x"}) == Refused(3, "(이름 없음)", "이름이 필요합니다.")
    error = "학부모 전화번호가 올바르지 않습니다."
    assert check_row(4, {"name": "김", "parent_phone": "02-1"}) == Refused(4, "김", error)


def test_row__dates_where_none_belong__are_refused_or_left_out() -> None:
    day = Dated("2024-03-01")
    texts: dict[str, str] = {"name": day, "parent_phone": "01012345678"}
    assert check_row(2, texts) == Refused(2, "2024-03-01", "이름 칸에 날짜가 있습니다.")
    assert check_row(2, {"name": "김", "parent_phone": day}) == Refused(
        2, "김", "학부모 전화번호가 올바르지 않습니다."
    )
    optional = dict.fromkeys("phone school grade high_school_class gender memo".split(), day)
    row = check_row(2, {"name": "김", "parent_phone": "01012345678", **optional})
    assert isinstance(row, Student)
    assert (row.phone, row.school, row.grade, row.gender) == (None, None, None, None)
    assert row.memo == "2024-03-01"


def test_row__class_and_major__belong_to_high_schools() -> None:
    texts = {"name": "김", "parent_phone": "01012345678", "high_school_class": "3", "major": "이과"}
    middle, high = (check_row(2, texts | {"school": name}) for name in ("한빛중", "한빛고"))
    assert isinstance(middle, Student)
    assert isinstance(high, Student)
    assert (middle.high_school_class, middle.major) == (None, None)
    assert (high.high_school_class, high.major) == ("3", "이과")


@given(st.lists(st.tuples(st.sampled_from("김이박"), st.integers(0, 2)), max_size=12))
def test_rows__of_each_pair__the_first_counts(pairs: list[tuple[str, int]]) -> None:
    rows = [
        TextRow(number, {"name": name, "parent_phone": f"010{phone:08d}"})
        for number, (name, phone) in enumerate(pairs, start=2)
    ]
    checked = list(check_all(iter(rows), Scratch()))
    kept = [(row.name, row.parent_phone) for row in checked if isinstance(row, Student)]
    assert [row.row for row in checked] == [row.number for row in rows]
    assert len(kept) == len(set(kept)) == len(set(pairs))

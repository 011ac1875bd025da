"""The rules for one row: its texts become a student, or the reason why the row is refused.

Used by `workers.roster`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from workers.roster.table.phones import normalise_phone, phone_fault
from workers.roster.table.schools import grade_value, school_type
from workers.roster.xlsx.cells import Dated, FromAbove, has_letter, plain

NAME_LENGTH = 100
TEXT_LENGTH = 100
MEMO_LENGTH = 2_000

NAMELESS = "(이름 없음)"
"""The name of a failed row that has none."""

WRONG_PHONE = "학부모 전화번호가 올바르지 않습니다"


class Student(NamedTuple):
    """A row that can be saved; None means that the row has no value.

    A student who exists already keeps the value then.
    """

    row: int
    name: str
    parent_phone: str
    phone: str | None
    school_type: str | None
    school: str | None
    high_school_class: str | None
    major: str | None
    grade: int | None
    gender: str | None
    memo: str | None


class Refused(NamedTuple):
    """A row that cannot be imported; `error` is the reason in Korean, for the file's owner."""

    row: int
    name: str
    error: str


def check_row(row: int, texts: Mapping[str, str]) -> Student | Refused:
    """Return the student that the texts of a row, by field, describe, or the refusal.

    An optional value that is not valid is omitted; the row is not refused because of it.
    """
    name = texts.get("name", "")
    reason = _name_fault(name)
    written = _undated(texts, "parent_phone")
    parent_phone = normalise_phone(written)
    if reason is None and parent_phone is None:
        fault = phone_fault(written)
        reason = f"{WRONG_PHONE}: {fault}" if fault else f"{WRONG_PHONE}."
    if reason is not None or parent_phone is None:
        return Refused(row, name[:NAME_LENGTH] or NAMELESS, reason or "")
    school = _undated(texts, "school")[:TEXT_LENGTH] or None
    grade = _undated(texts, "grade")
    kind = school and school_type(school, _undated(texts, "school_type"), grade)
    return Student(
        row=row,
        name=name,
        parent_phone=parent_phone,
        phone=normalise_phone(_undated(texts, "phone")),
        school_type=kind,
        school=school,
        high_school_class=_of_high_school(kind, texts, "high_school_class"),
        major=_of_high_school(kind, texts, "major"),
        grade=grade_value(grade),
        gender=gender_value(texts.get("gender", "")),
        memo=texts.get("memo", "")[:MEMO_LENGTH] or None,
    )


def gender_value(text: str) -> str | None:
    """Return M or F for a Korean or English word that means it, or None."""
    word = plain(text).casefold()
    if word in _MALE:
        return "M"
    return "F" if word in _FEMALE else None


_MALE = frozenset("남 남자 남성 남학생 m male man boy".split())
_FEMALE = frozenset("여 여자 여성 여학생 f female woman girl".split())


def _name_fault(name: str) -> str | None:
    if not has_letter(name):
        return "이름이 필요합니다."
    if isinstance(name, FromAbove):
        return "이름이 위 행과 병합되어 있습니다. 학생마다 한 행에 적어 주세요."
    if isinstance(name, Dated):
        return "이름 칸에 날짜가 있습니다."
    if len(name) > NAME_LENGTH:
        return f"이름이 {NAME_LENGTH}자를 넘습니다."
    return None


def _undated(texts: Mapping[str, str], field: str) -> str:
    """Return a field's text; empty if the spreadsheet has converted the typed text to a date."""
    text = texts.get(field, "")
    return "" if isinstance(text, Dated) else text


def _of_high_school(kind: str | None, texts: Mapping[str, str], field: str) -> str | None:
    return _undated(texts, field)[:TEXT_LENGTH] or None if kind == "HIGH" else None

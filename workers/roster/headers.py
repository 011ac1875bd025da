"""Which column is which: header rows in Korean or English, in any order, below any title."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from workers.roster.cells import plain

FIELDS = (
    "name parent_phone phone school school_type grade high_school_class major gender memo"
).split()
"""What a column can be."""

NEEDED = ("name", "parent_phone")
"""A row that has no cells for these is no header."""

Columns = Mapping[str, int]
"""The index of each field's column."""

_WORDS = {
    "name": "이름 성명 성함 학생 학생명 학생이름 학생성명 원생명 원생이름 "
    "name studentname student fullname",
    "parent_phone": "학부모 부모님 보호자 parent parents guardian",
    "school": "학교 학교명 학교이름 소속학교 재학학교 재학교 출신학교 school schoolname",
    "school_type": "학교급 학교구분 학교유형 학교종류 학교분류 schooltype schoollevel",
    "grade": "학년 grade schoolgrade schoolyear",
    "high_school_class": "반 학급 학반 고등학교반 class classroom homeroom highschoolclass",
    "major": "계열 전공 학과 문이과 major track department",
    "gender": "성별 gender sex",
    "memo": "메모 비고 특이사항 참고 참고사항 기타 memo note notes remark remarks comment comments",
}
_FIELD_OF = {word: field for field, words in _WORDS.items() for word in words.split()}
_PHONE = re.compile(r"전화|연락처|휴대폰|핸드폰|휴대전화|폰번호|phone|mobile|contact|cell|tel|^hp$")
_PARENT = re.compile(
    r"부모|보호자|어머니|아버지|엄마|아빠|모친|부친|^[부모](?=전화|연락|휴대|핸드)"
    r"|(?<=[처호폰화])[부모]$|parent|guardian|mother|father"
)
_SOMEBODY_ELSE = re.compile(
    r"비상|긴급|자택|집전화|학교|담임|강사|교사|선생|emergency|home|office|school|teacher"
)
_NO_LETTER = re.compile(r"[\W_]+")
_ASIDE = re.compile(r"[(\[{<].*?[)\]}>]")


def field_of(heading: str) -> str | None:
    """Give the field that a heading names, or None for a column that means nothing to us."""
    whole, short = _word(heading), _word(_ASIDE.sub("", heading))
    if _PHONE.search(whole):
        if _PARENT.search(whole):
            return "parent_phone"
        return None if _SOMEBODY_ELSE.search(whole) else "phone"
    return _FIELD_OF.get(whole) or _FIELD_OF.get(short)


def columns_of(texts: Sequence[str]) -> Columns | None:
    """Give the columns that a row of headings names; None where the row is no header.

    Where two columns name one field, the left one counts.
    """
    found: dict[str, int] = {}
    for index, text in enumerate(texts):
        field = field_of(text) if text else None
        if field is not None:
            found.setdefault(field, index)
    return found if all(field in found for field in NEEDED) else None


def _word(heading: str) -> str:
    return _NO_LETTER.sub("", plain(heading)).casefold()

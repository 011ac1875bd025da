"""Korean and English words of headings, and the fields that they can mean.

Used by `workers.roster.table.header_row` and `workers.roster.table.sheets`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from workers.roster.xlsx.cells import plain

FIELDS = (
    "name parent_phone phone school school_type grade high_school_class major gender memo"
).split()
"""The meanings that a column can have."""

PARENT = "parent"
"""A column with names of parents, which is not imported."""

CLEAR, LIKELY, POSSIBLE = 3, 2, 1
"""The clearness of a heading: it means a field certainly, probably, or only if the cells below it
look like values of the field."""

Claims = Mapping[str, int]
"""The fields that a heading can mean, with the clearness of each."""

_WORDS = {
    "name": "이름 성명 성함 학생명 학생이름 학생성명 학생성함 원생명 원생이름 수강생명 "
    "name studentname fullname pupilname",
    "school": "학교 학교명 학교이름 소속학교 재학학교 재학교 출신학교 school schoolname",
    "school_type": "학교급 학교구분 학교유형 학교종류 학교분류 schooltype schoollevel",
    "grade": "학년 grade schoolgrade schoolyear",
    "high_school_class": "반 학급 학반 고등학교반 class classroom homeroom highschoolclass",
    "major": "계열 전공 학과 문이과 major track department",
    "gender": "성별 gender sex",
    "memo": "메모 비고 특이사항 참고 참고사항 기타 memo note notes remark remarks comment comments",
}
_FIELD_OF = {word: field for field, words in _WORDS.items() for word in words.split()}
_STUDENT = frozenset("학생 원생 수강생 student students pupil pupils".split())
_PHONE = re.compile(r"전화|연락처|휴대폰|핸드폰|휴대전화|폰번호|phone|mobile|contact|cell|tel|hp$")
_PARENT = re.compile(
    r"부모|보호자|어머니|아버지|엄마|아빠|모친|부친|^[부모](?=전화|연락|휴대|핸드|이름|성명|성함|hp)"
    r"|(?<=[처호폰화명름함p])[부모]$|parent|guardian|mother|father"
)
_PARENT_ALONE = re.compile(
    r"(학?부모님?|보호자|어머니|아버지|엄마|아빠|모친?|부친?|parents?|guardians?|mother|father|mom|dad)"
    r"(정보|info(rmation)?|details?)?[0-9]?"
)
_PERSON = re.compile(r"이름|성명|성함|(?<=[모자친니지])명|name")
_SOMEBODY_ELSE = re.compile(
    r"비상|긴급|자택|집전화|학교|담임|강사|교사|선생|emergency|home|office|school|teacher"
)
_GROUP = re.compile(
    r"(학생|원생|수강생|학?부모님?|보호자|어머니|아버지|모친?|부친?|연락처|전화(번호)?|휴대(폰|전화)|"
    r"students?|pupils?|parents?|guardians?|mother|father|contacts?|phones?)"
    r"(정보|인적사항|사항|관련|란|연락처|info(rmation)?|details?|s)?"
)
_LONGEST = 100
"""Characters of the longest heading; a longer text is a note."""

_NO_LETTER = re.compile(r"[\W_]+")
_PARENTHESES = re.compile(r"[(\[{<].*?[)\]}>]")


@lru_cache(maxsize=1_024)
def claims_of(heading: str, group: str = "") -> Claims:
    """Return the fields that a heading can mean, below the heading of its group if it has one."""
    if len(heading) > _LONGEST:
        return {}
    alone = _claims(heading)
    # "학부모" above "연락처" means a parent's phone; above "비고" it has no effect.
    if group and is_group(group) and "memo" not in alone:
        return _claims(f"{group} {heading}") or alone
    return alone


def field_of(heading: str) -> str | None:
    """Return the field that a heading means by its words alone, or None."""
    claims = claims_of(heading)
    likely = [field for field in FIELDS if claims.get(field, 0) >= LIKELY]
    return max(likely, key=lambda field: claims[field]) if likely else None


def is_group(heading: str) -> bool:
    """Return True if a heading can be that of a group of columns."""
    return len(heading) <= _LONGEST and _GROUP.fullmatch(_word(heading)) is not None


def _claims(heading: str) -> Claims:
    word, short = _word(heading), _word(_PARENTHESES.sub("", heading))
    says_what = _PHONE.search(word) or _PERSON.search(word)
    if not says_what and (_PARENT_ALONE.fullmatch(word) or _PARENT_ALONE.fullmatch(short)):
        return {"parent_phone": LIKELY, PARENT: LIKELY}
    if _PHONE.search(word):
        return _claims_of_phone(word)
    if _PARENT.search(word) and _PERSON.search(word):
        return {PARENT: CLEAR, "parent_phone": POSSIBLE}
    field = _FIELD_OF.get(word) or _FIELD_OF.get(short)
    if field:
        return {field: CLEAR}
    if word in _STUDENT or short in _STUDENT:
        return {"name": LIKELY, "phone": POSSIBLE}
    return {PARENT: POSSIBLE, "parent_phone": POSSIBLE} if _PARENT.search(word) else {}


def _claims_of_phone(word: str) -> Claims:
    if _PARENT.search(word):
        if _PERSON.search(word):
            return {PARENT: LIKELY, "parent_phone": POSSIBLE}
        return {"parent_phone": CLEAR}
    if _SOMEBODY_ELSE.search(word) or _PERSON.search(word):
        return {}
    return {"phone": CLEAR}


def _word(heading: str) -> str:
    return _NO_LETTER.sub("", plain(heading)).casefold()

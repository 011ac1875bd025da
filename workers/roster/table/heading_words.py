"""The words of headings, Korean and English: which fields a heading can stand for."""

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
"""A column about a parent in person; nothing of it is imported."""

CLEAR, LIKELY, POSSIBLE = 3, 2, 1
"""The strength of a heading: the field, the field or a person, or only with its cells."""

Claims = Mapping[str, int]
"""The fields that a heading can stand for, and how clearly it says so."""

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
"""Characters of a heading; anything longer is a note."""

_NO_LETTER = re.compile(r"[\W_]+")
_ASIDE = re.compile(r"[(\[{<].*?[)\]}>]")


@lru_cache(maxsize=1_024)
def claims_of(heading: str, group: str = "") -> Claims:
    """Return the fields that a heading can stand for, below the heading of its group if any."""
    if len(heading) > _LONGEST:
        return {}
    if group and is_group(group):
        # "학부모" above "연락처" is a parent's phone; above "비고" it changes nothing.
        together = _claims(f"{group} {heading}")
        if together:
            return together
    return _claims(heading)


def field_of(heading: str) -> str | None:
    """Return the field that a heading names by its words, or None where it names none."""
    claims = claims_of(heading)
    likely = [field for field in FIELDS if claims.get(field, 0) >= LIKELY]
    return max(likely, key=lambda field: claims[field]) if likely else None


def is_group(heading: str) -> bool:
    """Return true for a heading that can stand above the headings of several columns."""
    return len(heading) <= _LONGEST and _GROUP.fullmatch(_word(heading)) is not None


def _claims(heading: str) -> Claims:
    whole, short = _word(heading), _word(_ASIDE.sub("", heading))
    says_what = _PHONE.search(whole) or _PERSON.search(whole)
    if not says_what and (_PARENT_ALONE.fullmatch(whole) or _PARENT_ALONE.fullmatch(short)):
        return {"parent_phone": LIKELY, PARENT: LIKELY}
    if _PHONE.search(whole):
        return _claims_of_phone(whole)
    if _PARENT.search(whole) and _PERSON.search(whole):
        return {PARENT: CLEAR, "parent_phone": POSSIBLE}
    field = _FIELD_OF.get(whole) or _FIELD_OF.get(short)
    if field:
        return {field: CLEAR}
    if whole in _STUDENT or short in _STUDENT:
        return {"name": LIKELY, "phone": POSSIBLE}
    return {PARENT: POSSIBLE, "parent_phone": POSSIBLE} if _PARENT.search(whole) else {}


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

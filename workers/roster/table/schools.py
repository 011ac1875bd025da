"""The type of a school, from its name, a stated type or a grade.

Used by `workers.roster.table.rows` and `workers.roster.table.header_row`.
"""

from __future__ import annotations

import re
from functools import lru_cache

from workers.roster.xlsx.cells import plain

TYPES = ("ELEMENTARY", "MIDDLE", "HIGH", "OTHER")
"""The values of `school_type`, as in the table's constraint."""

_NAMES = {
    "HIGH": re.compile(r"(고등|고교|[가-힣A-Za-z]고$|high\s*school|\bhigh$|\bhs$)", re.IGNORECASE),
    "MIDDLE": re.compile(
        r"(중학|중등|[가-힣A-Za-z]중$|(middle|junior high)(\s*school)?|\bms$)", re.IGNORECASE
    ),
    "ELEMENTARY": re.compile(
        r"(초등|[가-힣A-Za-z]초$|(elementary|primary)(\s*school)?|\bes$)", re.IGNORECASE
    ),
}
_STATED = {
    "HIGH": re.compile(r"고|high", re.IGNORECASE),
    "MIDDLE": re.compile(r"중|middle|junior", re.IGNORECASE),
    "ELEMENTARY": re.compile(r"초|elementary|primary", re.IGNORECASE),
}
_YEAR = re.compile(r"(?<![0-9])([1-6])(?![0-9])")


@lru_cache(maxsize=4_096)  # a roster has few schools and many students
def school_type(name: str, stated: str = "", grade: str = "") -> str:
    """Return the type of a school.

    The stated type takes precedence over the name, and the name over a grade such as "고2". The
    type is OTHER if none of them determines it.
    """
    return (
        _found(_STATED, plain(stated)) or _of_name(name) or _found(_STATED, plain(grade)) or "OTHER"
    )


@lru_cache(maxsize=256)
def grade_value(text: str) -> int | None:
    """Return the year of school, 1 to 6, in a text such as "고3" or "2학년", or None."""
    years = _YEAR.findall(plain(text))
    return int(years[0]) if len(years) == 1 else None


def _of_name(name: str) -> str | None:
    # The name of a middle school of a college of education has both words: the last one counts.
    ends = {
        kind: match.end()
        for kind, pattern in _NAMES.items()
        for match in pattern.finditer(plain(name))
    }
    return max(ends, key=lambda kind: ends[kind]) if ends else None


def _found(patterns: dict[str, re.Pattern[str]], text: str) -> str | None:
    return next((kind for kind, pattern in patterns.items() if pattern.search(text)), None)

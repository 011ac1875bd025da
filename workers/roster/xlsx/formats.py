"""Number formats: which cells contain dates, and the date of a serial number.

Used by `workers.roster.xlsx.workbook` and `workers.roster.xlsx.worksheet`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta

from workers.roster.xlsx.markup import Element

_BUILT_IN_DATES = frozenset([*range(14, 23), *range(27, 37), *range(45, 48), *range(50, 59)])
"""Ids of built-in date formats; those from 27 on are of East Asian versions."""

_LITERALS = re.compile(r'"[^"]*"|\\.|[_*].|\[(?!(?:h+|m+|s+)\])[^\]]*\]', re.IGNORECASE)
_DATE_LETTERS = re.compile(r"[ymdhs]", re.IGNORECASE)
_NO_DATES = frozenset(["general", "standard"])

_EPOCH = datetime(1899, 12, 30)  # noqa: DTZ001 - a cell has no time zone
_EPOCH_1904 = datetime(1904, 1, 1)  # noqa: DTZ001
_FALSE_LEAP_DAY = 60
"""The serial number of 29 February 1900, which the format counts although it did not exist."""


def date_styles(elements: Iterable[Element]) -> frozenset[str]:
    """Return the indices of the cell formats that show a number as a date or a time."""
    codes: dict[str, str] = {}
    formats: list[str] = []
    for parent, name, attributes in elements:
        if parent == "numFmts" and name == "numFmt":
            codes[attributes.get("numFmtId", "")] = attributes.get("formatCode", "")
        elif parent == "cellXfs" and name == "xf":
            formats.append(attributes.get("numFmtId", "0"))
    dates = {id_ for id_, code in codes.items() if is_date_format(code)}
    dates |= {str(id_) for id_ in _BUILT_IN_DATES} - codes.keys()
    return frozenset(str(index) for index, id_ in enumerate(formats) if id_ in dates)


def is_date_format(code: str) -> bool:
    """Return True if a format code shows a date, a time or a duration."""
    first = code.partition(";")[0]
    return first.casefold() not in _NO_DATES and bool(
        _DATE_LETTERS.search(_LITERALS.sub("", first))
    )


def date_text(serial: float, *, from_1904: bool) -> str | None:
    """Return a serial number as ISO date, time or both; None if it is out of range."""
    if not 0 <= serial < 3_000_000:  # after the year 9999; also false for NaN
        return None
    if not from_1904 and serial < _FALSE_LEAP_DAY:
        serial += 1
    try:
        moment = (_EPOCH_1904 if from_1904 else _EPOCH) + timedelta(seconds=round(serial * 86_400))
    except OverflowError:
        return None
    day, _, time = str(moment).partition(" ")
    if serial < (1 if from_1904 else 2):
        return time
    return day if time == "00:00:00" else f"{day} {time}"

"""The text of a cell: one form for what spreadsheets store in several."""

from __future__ import annotations

import math
import re
import unicodedata

_FRACTIONLESS = re.compile(r"([0-9]+)\.0+")
_SPACES = re.compile(r" {2,}")
_LONGEST = 32_767
"""Characters in a cell, by the format's own limit."""

_SAFE_DIGITS = 15
"""Digits that every number keeps in a spreadsheet."""

_BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\U00013441\U00013442\U00016fe4\U0001d159\U000e0100-\U000e01ef]"
)
"""Letters, marks and symbols that show nothing; Unicode counts them as none of its controls."""

_ERRORS = frozenset("#N/A #REF! #VALUE! #NAME? #DIV/0! #NULL! #NUM! #SPILL! #CALC!".split())


class Dated(str):
    """A text that stood in the sheet as a date, a time or a duration."""

    __slots__ = ()


class FromAbove(str):
    """A text that a cell shares with the row above, because they are merged."""

    __slots__ = ()


class Uncalculated(str):
    """The place of a formula whose value is not in the file."""

    __slots__ = ()


def cell_text(value: str) -> str:
    """Return what a text in a cell says: cleaned, a whole number without its fraction.

    An error that was pasted as text is empty, like any other cell in error.
    """
    text = clean(value)
    if text in _ERRORS:
        return ""
    number = _FRACTIONLESS.fullmatch(text)
    return number[1] if number else text


def number_text(value: str) -> str:
    """Return the digits of a number as it is stored; of a whole one without a fraction."""
    digits = value.strip()
    if digits.isdecimal() and digits.isascii() and len(digits) <= _SAFE_DIGITS:
        return digits.lstrip("0") or "0"
    try:
        number = float(digits)
    except ValueError:
        return cell_text(value)
    if not math.isfinite(number):
        return ""
    # Above 2^53 a float no longer says which whole number it was: its digits would be made up.
    whole = number.is_integer() and abs(number) < 2**53
    return str(int(number)) if whole else repr(number)


def clean(value: object) -> str:
    """Return a text as people see it, so that what looks the same is the same.

    Composed (NFC), without letters that show nothing, single spaces, no outer ones.
    """
    text = str(value)[:_LONGEST]
    if not text.isprintable():
        text = "".join(map(_visible, text))
    if not text.isascii():
        text = unicodedata.normalize("NFC", _BLANK.sub("", text))
    return _SPACES.sub(" ", text).strip()


def has_letter(text: str) -> bool:
    """Return true where a cleaned text has a letter or a digit of any script."""
    return any(map(str.isalnum, text))


def _visible(letter: str) -> str:
    """Return a space for any kind of space, and nothing for what controls or has no form."""
    if letter.isspace():
        return " "
    return "" if unicodedata.category(letter).startswith("C") else letter


def plain(text: str) -> str:
    """Return a text with the wide and narrow forms of letters and digits as the usual ones."""
    return unicodedata.normalize("NFKC", text)

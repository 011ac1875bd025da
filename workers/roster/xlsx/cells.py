"""The text of a cell, normalized: spreadsheets store the same text in several forms.

Used by the other modules of `workers.roster`.
"""

from __future__ import annotations

import math
import re
import unicodedata

_FRACTIONLESS = re.compile(r"([0-9]+)\.0+")
_SPACES = re.compile(r" {2,}")
_LONGEST = 32_767
"""The limit of the format for the characters of a cell."""

_SAFE_DIGITS = 15
"""The number of digits that a spreadsheet stores exactly."""

_BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\U00013441\U00013442\U00016fe4\U0001d159\U000e0100-\U000e01ef]"
)
"""Invisible letters, marks and symbols that are not control characters in Unicode."""

_ERRORS = frozenset("#N/A #REF! #VALUE! #NAME? #DIV/0! #NULL! #NUM! #SPILL! #CALC!".split())


class Dated(str):
    """A text that the sheet stores as a date, a time or a duration."""

    __slots__ = ()


class FromAbove(str):
    """A text that a cell has because it is merged with the row above."""

    __slots__ = ()


class Uncalculated(str):
    """A placeholder for a formula whose value is not in the file."""

    __slots__ = ()


def cell_text(value: str) -> str:
    """Return the cleaned text of a cell, an integer without its fraction (`3.0` becomes `3`).

    An error value such as `#N/A`, also if it was pasted as text, becomes an empty text.
    """
    text = clean(value)
    if text in _ERRORS:
        return ""
    number = _FRACTIONLESS.fullmatch(text)
    return number[1] if number else text


def number_text(value: str) -> str:
    """Return a number as text; an integer has no fraction."""
    digits = value.strip()
    if digits.isdecimal() and digits.isascii() and len(digits) <= _SAFE_DIGITS:
        return digits.lstrip("0") or "0"
    try:
        number = float(digits)
    except ValueError:
        return cell_text(value)
    if not math.isfinite(number):
        return ""
    # Above 2^53 a float does not determine the integer: its last digits would be wrong.
    integral = number.is_integer() and abs(number) < 2**53
    return str(int(number)) if integral else repr(number)


def clean(value: object) -> str:
    """Return a text in one form, so that texts that look the same are equal.

    The result is composed (NFC), has no invisible characters, only single spaces, and no space at
    its ends.
    """
    text = str(value)[:_LONGEST]
    if not text.isprintable():
        text = "".join(map(_visible, text))
    if not text.isascii():
        text = unicodedata.normalize("NFC", _BLANK.sub("", text))
    return _SPACES.sub(" ", text).strip()


def has_letter(text: str) -> bool:
    """Return True if a cleaned text has a letter or a digit of any script."""
    return any(map(str.isalnum, text))


def _visible(letter: str) -> str:
    """Return a space for any kind of space, and an empty text for control characters."""
    if letter.isspace():
        return " "
    return "" if unicodedata.category(letter).startswith("C") else letter


def plain(text: str) -> str:
    """Return a text with full-width and half-width characters in their ordinary form (NFKC)."""
    return unicodedata.normalize("NFKC", text)

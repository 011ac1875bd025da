"""What a cell says, as text: one form for what spreadsheets store in several."""

from __future__ import annotations

import re
import unicodedata
from datetime import date, datetime, time, timedelta

Value = str | int | float | bool | date | datetime | time | timedelta
"""What the library gives for a cell; an empty one and one in error are the empty string."""

_FRACTIONLESS = re.compile(r"([0-9]+)\.0+")
_SPACES = re.compile(r" {2,}")
_LONGEST = 32_767
"""Characters in a cell, by the format's own limit."""


class Dated(str):
    """A text that stood in the sheet as a date, a time or a duration."""

    __slots__ = ()


def cell_text(value: Value) -> str:
    """Give a cell's text: composed, without control characters, single spaces, no outer ones.

    A whole number has no fraction, whether it was stored as a number or as text.
    """
    if isinstance(value, date | time | timedelta):
        return Dated(_date_text(value))
    if isinstance(value, float):
        return _number_text(value)
    text = clean(value)
    number = _FRACTIONLESS.fullmatch(text)
    return number[1] if number else text


def clean(value: object) -> str:
    """Give a text as people see it, so that what looks the same is the same."""
    text = unicodedata.normalize("NFC", str(value)[:_LONGEST])
    if not text.isprintable():
        text = "".join(map(_visible, text))
    return _SPACES.sub(" ", text).strip()


def _visible(letter: str) -> str:
    """Give a space for any kind of space, and nothing for what controls or has no form."""
    if letter.isspace():
        return " "
    return "" if unicodedata.category(letter).startswith("C") else letter


def plain(text: str) -> str:
    """Give a text with the wide and narrow forms of letters and digits as the usual ones."""
    return unicodedata.normalize("NFKC", text)


def _number_text(value: float) -> str:
    # Above 2^53 a float no longer says which whole number it was: its digits would be made up.
    whole = value.is_integer() and abs(value) < 2**53
    return str(int(value)) if whole else repr(value)


def _date_text(value: date | time | timedelta) -> str:
    if isinstance(value, datetime) and value.time() == time():
        value = value.date()
    return str(value)

"""Mobile phone numbers: eleven digits that begin with 010, in any notation.

Used by `workers.roster.table.rows` and `workers.roster.table.header_row`.
"""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal, InvalidOperation

from workers.roster.xlsx.cells import plain

_BETWEEN = r"[\W_\u30fc\u1173]*"
"""Separators, with the vowels that are typed for a hyphen on Japanese and Korean keyboards."""

_MOBILE = re.compile(
    rf"(?P<before>[^0-9]*?)"
    rf"(?P<start>(?:(?:\+|00){_BETWEEN})?82{_BETWEEN}(?:0{_BETWEEN})?|0{_BETWEEN}|)"
    rf"10{_BETWEEN}(?P<middle>[0-9]{{4}}){_BETWEEN}(?P<last>[0-9]{{4}})"
    rf"(?P<after>[^0-9]*)"
)
"""Separators may be between the groups of a number only."""

_SIGN = re.compile(r"[+\-\u2010-\u2015\u2212]")
_BARE_AROUND = re.compile(r"[^+\-\u2010-\u2015\u2212%\u2030^*(A-Za-z]*")
"""The text that may surround a number without its leading zero: no sign, unit or mask."""

_EXPONENT = re.compile(r"[\s'`\u2018\u2019]*([+-]?[0-9.]{1,24}[eE][+-]?[0-9]{1,3})\s*")
_ANY_EXPONENT = re.compile(r"[0-9.,]\s*(?:[eE]\s*[+\-\u2212]?|[x×*]\s*10\s*\^?\s*)\s*[0-9]+")
_TWO_NUMBERS = 18
"""A text with at least this many digits holds more than one number."""

_NUMBER_CATEGORIES = ("Nl", "No")


def normalise_phone(text: str) -> str | None:
    """Return the eleven digits of a mobile number, or None if the text is not one.

    The leading zero may be missing, as spreadsheets remove it from numbers; the country code may be
    82 or 0082. A text in which digits may be missing or added is refused, because the number could
    be another person's.
    """
    found = _MOBILE.fullmatch(_written_out(text))
    if found is None:
        return None
    before, start, after = found["before"], found["start"], found["after"]
    if "82" in start:
        sound = not _SIGN.search(before.replace("+", "", 1))
    elif start:
        sound = "+" not in before
    else:
        sound = bool(
            _BARE_AROUND.fullmatch(before) and _BARE_AROUND.fullmatch(_without_parentheses(after))
        )
    return f"010{found['middle']}{found['last']}" if sound else None


def phone_fault(text: str) -> str:
    """Return the special reason, in Korean, why a text is not a mobile number, or an empty text."""
    usual = plain(text)
    if _ANY_EXPONENT.search(usual):
        return (
            f"지수로 표기되어({text[:40]}) 잘린 숫자를 알 수 없습니다. 텍스트로 다시 적어 주세요."
        )
    if len(re.sub(r"[^0-9]", "", usual)) >= _TWO_NUMBERS:
        return "번호가 둘 이상입니다. 하나만 적어 주세요."
    return ""


def looks_like_phone(text: str) -> bool:
    """Return True if a text is probably meant as a phone number, valid or not."""
    if normalise_phone(text):
        return True
    usual = plain(text)
    digits = re.sub(r"[^0-9]", "", usual)
    letters = sum(map(str.isalpha, usual))
    shortest = 8 if digits.startswith("0") else 9  # a date of birth has eight and no leading zero
    dialled = digits.startswith(("0", "10", "82")) and shortest <= len(digits) <= 24
    return (dialled and letters <= 6) or bool(_ANY_EXPONENT.search(usual))


def _written_out(text: str) -> str:
    """Return a text with ASCII digits; empty if it does not state all digits of its number."""
    if not text.isascii():
        if any(unicodedata.category(letter) in _NUMBER_CATEGORIES for letter in text):
            return ""  # a footnote mark, or a number in a circle
        text = plain(text)
        if any(letter.isdecimal() and not letter.isascii() for letter in text):
            return ""
    exponent = _EXPONENT.fullmatch(text)
    return _all_digits(exponent[1]) if exponent else text


def _all_digits(number: str) -> str:
    """Return all digits of a number in exponent form; empty if it does not state all of them."""
    try:
        value = Decimal(number)
    except InvalidOperation:
        return ""
    exponent = value.as_tuple().exponent
    integral = isinstance(exponent, int) and exponent <= 0 and value == value.to_integral_value()
    return f"{number[0] if number[0] in '+-' else ''}{abs(int(value))}" if integral else ""


def _without_parentheses(text: str) -> str:
    """Return a text without the parts in parentheses, as in "1012345678(모)"."""
    return re.sub(r"\([^()]*\)", "", text)

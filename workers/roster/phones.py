"""Mobile numbers: eleven digits that start with 010, however they were written."""

from __future__ import annotations

import re

from workers.roster.cells import plain

_OTHERS = re.compile(r"[^0-9]+")
_COUNTRY = re.compile(r"^(?:00)?82(?=0?10)")
_MOBILE = re.compile(r"010[0-9]{8}")


def normalise_phone(text: str) -> str | None:
    """Give a mobile number's eleven digits, or None where the text is none.

    A number without its leading zero is what a spreadsheet leaves of one typed as a number; a
    country code is 82 or 0082.
    """
    digits = _COUNTRY.sub("", _OTHERS.sub("", plain(text)))
    if len(digits) == 10 and digits.startswith("10"):
        digits = f"0{digits}"
    return digits if _MOBILE.fullmatch(digits) else None

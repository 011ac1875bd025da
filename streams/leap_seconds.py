"""Leap seconds in the times of events: RFC 3339 allows second 60, `datetime` does not.

A leap second is taken for the first second of the next minute, which is also its Unix time
(POSIX.1, 4.19). Used by `streams.events` and `api.jobs.parameters`.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

_LEAP = re.compile(
    r"(\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}):60(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})\Z", re.ASCII
)


def next_second(text: object) -> str | None:
    """Return the second after a leap second as text, or None if the text is not a leap second."""
    found = _LEAP.match(text) if isinstance(text, str) else None
    if found is None:
        return None
    minute, fraction, zone = found.groups()
    before = f"{minute}:59{(fraction or '')[:7]}{zone}".upper()
    try:
        return (datetime.fromisoformat(before) + timedelta(seconds=1)).isoformat()
    except OverflowError:  # the last second of the year 9999
        return before
    except ValueError:
        return None


def with_standard_zone(value: datetime) -> datetime:
    """Return the same time with the standard library's time zone object of the same offset.

    Objects of pydantic's own zone class crash CPython 3.11 when they outlive that class, which an
    event in a global variable does when the interpreter exits.
    """
    offset = value.utcoffset()
    return value.replace(tzinfo=timezone(offset) if offset else UTC)

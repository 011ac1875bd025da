"""Filters of dead letters: by reason, detail, group, and by the type of the event or of its job.

Used by `consumers.dead_letters.bulk`, `consumers.dead_letters.store` and `ops.tasks.dead_letters`.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import NamedTuple

from consumers.dead_letters.letter import Letter, Rejection
from streams.events import load_json

WORD_LENGTH = 100
"""The most characters of a type that are compared and shown."""

_NUMBER = re.compile(r"[0-9]+")


class LetterTypes(NamedTuple):
    """The types in a letter's event; None if the event does not have one as text."""

    event: str | None
    job: str | None


_NO_TYPES = LetterTypes(None, None)


class LetterFilter(NamedTuple):
    """The dead letters to select; None for any value."""

    reason: str | None = None
    detail: str | None = None
    """Numbers are ignored: `line 1 column 7` is the same detail as `line 2 column 30`."""
    group: str | None = None
    type: str | None = None
    """The type of the event."""
    job_type: str | None = None
    until: int | None = None
    """Only letters that were first rejected at this time or before; milliseconds since 1970."""

    def matches(self, letter: Letter) -> bool:
        """Return whether a letter passes all filters; one rejection passes reason to group."""
        if self.until is not None and milliseconds(letter.rejected_at) > self.until:
            return False
        if not any(map(self._matches_rejection, letter.rejections)):
            return False
        if self.type is None and self.job_type is None:
            return True
        types = types_of(letter)
        return self.type in (None, types.event) and self.job_type in (None, types.job)

    def _matches_rejection(self, rejection: Rejection) -> bool:
        return (
            self.reason in (None, rejection.reason)
            and self.group in (None, rejection.group)
            and (self.detail is None or detail_form(self.detail) == detail_form(rejection.detail))
        )


def milliseconds(at: datetime) -> int:
    """Return a time in milliseconds since 1970."""
    return round(at.timestamp() * 1000)


def types_of(letter: Letter) -> LetterTypes:
    """Return the types in the letter's event, which may be anything."""
    if letter.event is None or not letter.is_complete:
        return _NO_TYPES
    try:
        fields = load_json(letter.event)
    except ValueError:
        return _NO_TYPES
    if not isinstance(fields, dict):
        return _NO_TYPES
    return LetterTypes(_word(fields.get("type")), _word(fields.get("job_type")))


def detail_form(detail: str) -> str:
    """Return a detail with `#` for each number, which is equal for errors of the same kind."""
    return _NUMBER.sub("#", detail)


def _word(value: object) -> str | None:
    return value[:WORD_LENGTH] if isinstance(value, str) else None

"""Filters of dead letters: by reason, detail, group, and by what the event says of its job.

Used by `consumers.dead_letters.bulk`, `consumers.dead_letters.store`, `ops.commands.dead` and
`ops.tasks.dead_letters`.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import NamedTuple

from consumers.dead_letters.letter import Letter, Rejection
from consumers.dead_letters.letter_event import event_of

_NUMBER = re.compile(r"[0-9]+")


class LetterFilter(NamedTuple):
    """The dead letters to select; None for any value."""

    reason: str | None = None
    detail: str | None = None
    """Numbers are ignored: `line 1 column 7` is the same detail as `line 2 column 30`."""
    group: str | None = None
    type: str | None = None
    """The type of the event."""
    job_type: str | None = None
    kind: str | None = None
    """The kind of the job, which need not be one that is known."""
    until: int | None = None
    """Only letters that were first rejected at this time or before; milliseconds since 1970."""

    def matches(self, letter: Letter) -> bool:
        """Return whether a letter passes all filters; one rejection passes reason to group."""
        if self.until is not None and milliseconds(letter.rejected_at) > self.until:
            return False
        if not any(map(self._matches_rejection, letter.rejections)):
            return False
        if self.type is self.job_type is self.kind is None:
            return True
        event = event_of(letter)
        return (
            self.type in (None, event.type)
            and self.job_type in (None, event.job_type)
            and self.kind in (None, event.kind)
        )

    def _matches_rejection(self, rejection: Rejection) -> bool:
        return (
            self.reason in (None, rejection.reason)
            and self.group in (None, rejection.group)
            and (self.detail is None or detail_form(self.detail) == detail_form(rejection.detail))
        )


def milliseconds(at: datetime) -> int:
    """Return a time in milliseconds since 1970."""
    return round(at.timestamp() * 1000)


def detail_form(detail: str) -> str:
    """Return a detail with `#` for each number, which is equal for errors of the same kind."""
    return _NUMBER.sub("#", detail)

"""Values in the event of a dead letter about its job, as far as the event is readable.

Used by `consumers.dead_letters.bulk`, `consumers.dead_letters.letter_filter` and `ops.tasks`.
"""

from __future__ import annotations

from typing import NamedTuple

from consumers.dead_letters.letter import Letter
from streams.escapes import storable
from streams.events import EventBase, load_json
from streams.keys import JOB_ID, TENANT, JobKey
from streams.kinds import KINDS

WORD_LENGTH = 200
"""The most characters of a value that are compared and shown."""

_DEFAULT_KIND = EventBase.model_fields["kind"].default


class LetterEvent(NamedTuple):
    """Values of an event that was rejected; None for each that the event does not have as text."""

    type: str | None = None
    kind: str | None = None
    """The kind that an event without one has by default is also a value."""
    id: str | None = None
    job_type: str | None = None
    worker: str | None = None

    def job_of(self, tenant: str) -> JobKey | None:
        """Return the job that the event is about; None if no such job can exist."""
        if self.kind is None or self.kind not in KINDS or self.id is None:
            return None
        possible = TENANT.match(tenant) and JOB_ID.match(self.id)
        return JobKey(tenant, self.kind, self.id) if possible else None


_UNREADABLE = LetterEvent()


def event_of(letter: Letter) -> LetterEvent:
    """Return the values in the letter's event, which may be anything."""
    if letter.event is None or not letter.is_complete:
        return _UNREADABLE
    try:
        fields = load_json(storable(letter.event))
    except ValueError:
        return _UNREADABLE
    if not isinstance(fields, dict):
        return _UNREADABLE
    given = {"kind": _DEFAULT_KIND, **fields}
    return LetterEvent(*(_word(given.get(name)) for name in LetterEvent._fields))


def _word(value: object) -> str | None:
    return value[:WORD_LENGTH] if isinstance(value, str) else None

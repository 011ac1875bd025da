"""The day of an event in the history, and the week whose partition holds it.

A retried append of an event must have the same day, even after midnight. So the day comes from the
event id, if that contains a plausible time. Used by `projections.history.copy_writer`,
`projections.history.event_rows`, `projections.history.partitions`, `projections.history.writer` and
`projections.replay.events.missing_entries`.
"""

from __future__ import annotations

import re
from datetime import date, timedelta
from functools import lru_cache

from streams.entry_ids import EntryId
from streams.event_ids import time_of

DAY_MS = 86_400_000
WEEK = timedelta(weeks=1)

_ENTRY_ID = re.compile(r"\d{1,15}-\d{1,20}\Z")
WEEKS_AHEAD = 2
"""Weeks from now for which partitions are made."""
_LATE_MS = 30 * DAY_MS
"""If the entry is later than the time in its event id by more than this, that time is not used. The
event id of a dead letter that was requeued is its first entry id, which may be months old: under
that day, the event would leave the history at once (`retention`)."""
_DAYS_OFF = timedelta(days=31)
"""The most days from an event's day to its entry, since `_LATE_MS` may begin and end within a day.
An event that is held, or was stored by an earlier version, may have an earlier day."""
_EARLY_MS = WEEKS_AHEAD * 7 * DAY_MS
"""The most that the time in an event id may be ahead of its entry: such a day has a partition."""


def time_in(event_id: str) -> int | None:
    """Return the time in an event id, in milliseconds, plausible or not; None if it has none."""
    made = time_of(event_id)
    if made is None and _ENTRY_ID.match(event_id):
        return int(event_id.partition("-")[0])
    return made


def made_at(event_id: str, entry_ms: int) -> int | None:
    """Return the time in an event id, in milliseconds, or None if it has no plausible one.

    A time too far from that of the entry is not plausible.
    """
    made = time_in(event_id)
    return made if made is not None and -_LATE_MS <= made - entry_ms <= _EARLY_MS else None


def day_of(event_id: str | None, entry_id: EntryId) -> date:
    """Return the day that an event belongs to."""
    made = None if event_id is None else made_at(event_id, entry_id.ms)
    return day_at(entry_id.ms if made is None else made)


def is_day_uncertain(event_id: str, entry_id: EntryId) -> bool:
    """Return True if the day is that of the entry, so that a retried append may have another."""
    return made_at(event_id, entry_id.ms) is None and event_id != str(entry_id)


def day_at(ms: int) -> date:
    """Return the day of a time in milliseconds; after the year 9999, the last possible day."""
    return _day_of_number(ms // DAY_MS)


@lru_cache(maxsize=64)
def _day_of_number(number: int) -> date:
    return EntryId(number * DAY_MS, 0).time.date()


def monday_of(day: date) -> date:
    """Return the first day of a day's week."""
    return day - timedelta(days=day.weekday())


def partition_name(monday: date) -> str:
    """Return the name of a week's partition."""
    return f"job_events_{monday:%Y%m%d}"


def day_before(entry_id: EntryId) -> date:
    """Return a day before which hardly any event of this entry, or of a later one, is stored.

    An earlier day is possible for an event that was appended again after weeks.
    """
    day = entry_id.time.date()
    return day - _DAYS_OFF if day - date.min > _DAYS_OFF else date.min

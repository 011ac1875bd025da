"""The history: every distinct event as it came, in partitions of a week.

Events are one where they have the same event id and the same bytes (`event_identity`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import NamedTuple

import psycopg
import structlog

from projections.decoding import Entry, happened_at
from projections.event_identity import is_repeat, other_identity
from projections.history.days import (
    WEEK,
    WEEKS_AHEAD,
    day_at,
    day_of,
    has_time,
    is_day_uncertain,
    monday_of,
)
from projections.history.partitions import MOVE_AGAIN_SECONDS, TooManyEvents, make_partition
from sql import queries
from streams.entry_ids import EntryId
from streams.keys import JobKey

_LOG = structlog.get_logger(__name__)
_QUERIES = queries("history")

COLUMNS = "text text text text date int8 int8 text int8 timestamptz text int8 int8 int4".split()
"""Types of the columns of `copy_events`, in its order."""

_AHEAD, _BEHIND = WEEKS_AHEAD, 5
"""Weeks from now within which partitions are made; events of others go to the default one."""

MAKE_TRIES, MAKE_PAUSE_SECONDS = 10, 0.1
"""Tries to make a partition, and the pause after each that could not have its locks."""
MAKE_AGAIN_SECONDS = 10.0
"""After a partition could not be made because somebody reads the history for long."""

_Event = tuple[object, ...]
"""Tenant, kind, id and event id."""
_EntryId = tuple[int, int]
_Texts = Mapping[_Event, str]
"""The bytes of events, as text."""


class EventRow(NamedTuple):
    """One row of `job_events`, in the order of COPY."""

    tenant: str
    kind: str
    id: str
    event_id: str
    day: date
    entry_ms: int
    entry_seq: int
    type: str
    attempt: int
    at: datetime
    event: str
    last_ms: int | None = None
    """The event's latest entry, where it was appended more than once."""
    last_seq: int | None = None
    landings: int = 1

    @property
    def entry(self) -> tuple[int, int]:
        """The id of the event's earliest entry."""
        return self.entry_ms, self.entry_seq

    @property
    def day_uncertain(self) -> bool:
        """True where the day may differ between two appends of the event."""
        return is_day_uncertain(self.event_id, EntryId(*self.entry))


def event_row(entry: Entry) -> EventRow:
    """Return the history row for an entry."""
    tenant, entry_id, event, raw = entry
    return EventRow(
        tenant,
        event.kind,
        event.id,
        entry.event_id,
        day_of(event.event_id, entry_id),
        entry_id.ms,
        entry_id.seq,
        event.type,
        event.attempt,
        happened_at(event, entry_id),
        raw.decode(),
    )


def write_events(
    connection: psycopg.Connection,
    rows: Sequence[EventRow],
    earliest: Mapping[JobKey, EntryId],
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """Add events to the history.

    A redelivered entry changes nothing; another append of an event that the history holds updates
    its earliest and latest entry and its count of appends. An event whose id belongs to another
    event is added under an identity of its own.

    The caller holds a transaction, in which it has written and locked the events' jobs; `earliest`
    are these jobs' earliest entries. `meanwhile` is called while the server works.
    """
    rows = _with_identities(rows, _owners(connection, rows, earliest))
    unlike = _merge(connection, rows, earliest, meanwhile)
    if unlike:
        others = _with_identities([row for row in rows if row[:4] in unlike], unlike)
        connection.execute(_QUERIES["drop_staged"])
        _merge(connection, others, earliest, compared=True)


def _merge(
    connection: psycopg.Connection,
    rows: Sequence[EventRow],
    earliest: Mapping[JobKey, EntryId],
    meanwhile: Callable[[], None] = lambda: None,
    *,
    compared: bool = False,
) -> _Texts:
    """Merge rows, each of one event, into the history.

    Events whose id is held with other bytes are left out, unless they were `compared`: they are
    returned with these bytes.
    """
    entries = _entries_by_event(rows)
    merged = _with_days(connection, _once_each(rows, entries), earliest)
    merged = _with_new_landings(connection, merged, entries)
    connection.execute(_QUERIES["stage_events"])
    with connection.cursor() as cursor, cursor.copy(_QUERIES["copy_events"]) as copy:
        copy.set_types(COLUMNS)
        for row in merged:
            copy.write_row(row)
        meanwhile()
    connection.execute(_QUERIES["insert_events"], (compared,))
    if compared or connection.execute(_QUERIES["has_unlike_events"]).fetchone() != (True,):
        return {}
    return {tuple(event): text for *event, text in connection.execute(_QUERIES["unlike_events"])}


def _owners(
    connection: psycopg.Connection, rows: Sequence[EventRow], earliest: Mapping[JobKey, EntryId]
) -> _Texts:
    """Return the bytes to which an event id belongs, where rows with other bytes have it as well.

    These are the bytes that the history holds, or else those of the earliest entry.
    """
    texts = dict[_Event, str]()
    several = {row[:4] for row in rows if texts.setdefault(row[:4], row.event) != row.event}
    if not several:
        return {}
    ours = [row for row in rows if row[:4] in several]
    first = _with_days(connection, _once_each(ours, {}), earliest)
    columns = [list(column) for column in zip(*(row[:5] for row in first), strict=True)]
    found = connection.execute(_QUERIES["held_texts"], columns)
    held = {tuple(event): text for *event, text in found}
    return {row[:4]: row.event for row in first} | held


def _with_identities(rows: Sequence[EventRow], owners: _Texts) -> Sequence[EventRow]:
    """Return the rows, with identities of their own for those whose id belongs to other bytes."""
    if not owners:
        return rows
    others = [
        row
        if is_repeat(row.event, owners.get(row[:4], row.event), row.event_id)
        else row._replace(event_id=other_identity(row.event_id, row.event))
        for row in rows
    ]
    renamed = [row for row, other in zip(rows, others, strict=True) if row is not other]
    if renamed:
        _LOG.warning("event_id_of_another_event", count=len(renamed), example=renamed[0][:4])
    return others


def _with_days(
    connection: psycopg.Connection, rows: Sequence[EventRow], earliest: Mapping[JobKey, EntryId]
) -> Sequence[EventRow]:
    """Return the rows under the days under which the history holds them, where it does."""
    days = _held_days(connection, [row for row in rows if row.day_uncertain], earliest)
    return [row._replace(day=days[row[:4]]) if row[:4] in days else row for row in rows]


def lacking_events(connection: psycopg.Connection, rows: Sequence[EventRow]) -> list[int]:
    """Return the indexes of those rows that the history does not hold, under the day they have."""
    if not rows:
        return []
    columns = [list(column) for column in zip(*(row[:7] for row in rows), strict=True)]
    columns.append([other_identity(row.event_id, row.event) for row in rows])
    return [index for (index,) in connection.execute(_QUERIES["lacking_events"], columns)]


def has_events(connection: psycopg.Connection, tenant: str) -> bool:
    """Return True if the history holds events of the tenant."""
    found = connection.execute(_QUERIES["tenant_has_events"], (tenant,)).fetchone()
    return bool(found and found[0])


def _entries_by_event(rows: Sequence[EventRow]) -> dict[_Event, set[_EntryId]]:
    """Return the distinct entries of each event."""
    entries: dict[_Event, set[_EntryId]] = {}
    for row in rows:
        entries.setdefault(row[:4], set()).add(row.entry)
    return entries


def _once_each(rows: Sequence[EventRow], entries: Mapping[_Event, set[_EntryId]]) -> list[EventRow]:
    """Merge the appends of each event into the row of the earliest, on whatever days they are."""
    merged: dict[_Event, EventRow] = {}
    for row in rows:
        known = merged.setdefault(row[:4], row)
        if row.entry < known.entry:
            merged[row[:4]] = row
    for event, appends in entries.items():
        if len(appends) > 1:
            ms, seq = max(appends)
            merged[event] = merged[event]._replace(last_ms=ms, last_seq=seq, landings=len(appends))
    return list(merged.values())


def _with_new_landings(
    connection: psycopg.Connection,
    rows: Sequence[EventRow],
    entries: Mapping[_Event, set[_EntryId]],
) -> Sequence[EventRow]:
    """Count in each merged row only the appends that the history does not know.

    The jobs are locked: nobody adds to what is read here. A single append needs no such look-up,
    for the INSERT compares it with what is held.
    """
    asked = [row[:5] for row in rows if row.landings > 1]
    if not asked:
        return rows
    columns = [list(column) for column in zip(*asked, strict=True)]
    found = connection.execute(_QUERIES["held_landings"], columns).fetchall()
    held = {row[:4]: ((row[4], row[5]), (row[6], row[7]), row[8]) for row in found}
    return [
        row._replace(landings=_new_landings(entries[row[:4]], *held[row[:4]]))
        if row[:4] in held
        else row
        for row in rows
    ]


def _new_landings(entries: set[_EntryId], first: _EntryId, last: _EntryId, landings: int) -> int:
    """Return how many of an event's entries are new to a row of that many landings.

    Entries between the row's earliest and latest are not stored. So many are counted as are surely
    new: all of them where the row knows two landings.
    """
    outside = sum(not first <= each <= last for each in entries)
    between = sum(first < each < last for each in entries)
    return outside + max(0, len({first, last}) + between - landings)


def _held_days(
    connection: psycopg.Connection, rows: Sequence[EventRow], earliest: Mapping[JobKey, EntryId]
) -> dict[_Event, date]:
    """Return the days under which the history holds those of these events that it holds."""
    today = datetime.now(UTC).date()
    asked = []
    for row in rows:
        began = day_at(earliest[JobKey(*row[:3])].ms)
        # If the job began on this day and the day is today, no other day is possible; but an id
        # with a time that was trusted in another append has put that on the day of this time.
        if began < row.day or row.day < today or has_time(row.event_id):
            asked.append((*row[:4], began))
    if not asked:
        return {}
    columns = [list(column) for column in zip(*asked, strict=True)]
    found = connection.execute(_QUERIES["held_days"], columns)
    return {tuple(event): day for *event, day in found}


_KEPT = {"kept_in": "job_events_default"}
_MAKE_LATER = (
    psycopg.errors.LockNotAvailable,
    psycopg.errors.DeadlockDetected,
    # An event of the week came into the default partition since its events were counted.
    psycopg.errors.CheckViolation,
)


class Partitions:
    """Makes the weeks that writers are about to need."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._made: set[date] = set()
        self._crowded: dict[date, float] = {}
        self._clock = clock
        self._sleep = sleep
        self._next = float("-inf")

    def ensure(self, connection: psycopg.Connection, days: Iterable[date]) -> None:
        """Make the partitions of these days and of the week to come, outside any transaction.

        One that cannot be made now is made later; until then its events go to the default one, and
        they are moved when it is made.
        """
        now = self._clock()
        if now < self._next:
            return
        today = datetime.now(UTC).date()
        first, last = monday_of(today - _BEHIND * WEEK), monday_of(today + _AHEAD * WEEK)
        wanted = {monday_of(day) for day in (*days, today, today + WEEK)} - self._made
        for monday in sorted(wanted):
            if not first <= monday <= last or now < self._crowded.get(monday, now):
                continue
            try:
                made = self._made_in_time(connection, monday)
            except TooManyEvents as error:
                self._crowded[monday] = now + MOVE_AGAIN_SECONDS
                _LOG.warning("partition_not_made", week=str(monday), reason=str(error), **_KEPT)
                continue
            if not made:
                _LOG.warning("partition_not_made_yet", week=str(monday), **_KEPT)
                self._next = self._clock() + MAKE_AGAIN_SECONDS
                return
            self._made.add(monday)

    def _made_in_time(self, connection: psycopg.Connection, monday: date) -> bool:
        """Make a partition unless another writer does; return whether it is there.

        Attaching waits for all readers, and writers wait behind it, so that each try is short. The
        pauses let them through, and are long enough for another writer that is making it.
        """
        for _ in range(MAKE_TRIES):
            try:
                make_partition(connection, monday)
            except _MAKE_LATER:
                self._sleep(MAKE_PAUSE_SECONDS)
            else:
                return True
        return False

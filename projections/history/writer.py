"""The writer of the history, which merges events into the table `job_events`.

Each distinct event is stored once, with its bytes. Two appends are the same event if they have the
same event id and the same bytes (`event_identity`). `copy_writer` calls this module for batches
with events that the history may hold already; replays look for missing events. Used by
`ops.tasks.replay.replaced`, `projections.history.copy_writer` and `projections.rows.writer`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta

import psycopg
import structlog

from projections.event_identity import is_repeat, other_identity
from projections.history.days import day_at, time_in
from projections.history.event_rows import COLUMN_TYPES, EventRow
from sql import queries
from streams.entry_ids import EntryId
from streams.keys import JobKey

_LOG = structlog.get_logger(__name__)
_QUERIES = queries("history")

_CLOCKS_APART = timedelta(hours=1)
"""The most that the clock of Redis may be ahead of this process's. In as much time before midnight,
uncertain days are looked up. Otherwise most look-ups, of 12 microseconds each, are not needed."""

_Event = tuple[object, ...]
"""Tenant, kind, id and event id."""
_EntryId = tuple[int, int]
_Texts = Mapping[_Event, str]
"""The bytes of events, as text, by event."""


def write_events(
    connection: psycopg.Connection,
    rows: Sequence[EventRow],
    earliest: Mapping[JobKey, EntryId],
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """Add events to the history.

    A redelivered entry changes nothing. Another append of an event that the history holds updates
    its earliest and latest entry and its number of appends. An event whose event id belongs to
    another event is added under another identity.

    The caller has a transaction open in which it has written, and so locked, the jobs of the
    events; `earliest` has the earliest entries of these jobs. `meanwhile` is called once, while
    the server works.
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
    """Merge the rows of events into the history.

    Events whose event id is held with other bytes are left out, and returned with those bytes. With
    `compared` the caller has compared the bytes already.
    """
    entries = _entries_by_event(rows)
    merged = _with_days(connection, _once_each(rows, entries), earliest)
    merged = _with_new_appends(connection, merged, entries)
    connection.execute(_QUERIES["stage_events"])
    with connection.cursor() as cursor, cursor.copy(_QUERIES["copy_events"]) as copy:
        copy.set_types(COLUMN_TYPES)
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
    """Return the bytes to which event ids belong that several rows have with different bytes.

    Those are the bytes that the history holds, or else those of the earliest entry.
    """
    texts = dict[_Event, str]()
    several = {row[:4] for row in rows if texts.setdefault(row[:4], row.event) != row.event}
    if not several:
        return {}
    shared = [row for row in rows if row[:4] in several]
    first = _with_days(connection, _once_each(shared, {}), earliest)
    columns = [list(column) for column in zip(*(row[:5] for row in first), strict=True)]
    found = connection.execute(_QUERIES["held_texts"], columns)
    held = {tuple(event): text for *event, text in found}
    return {row[:4]: row.event for row in first} | held


def _with_identities(rows: Sequence[EventRow], owners: _Texts) -> Sequence[EventRow]:
    """Return the rows, with other identities for those whose event id belongs to other bytes."""
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
    """Return the rows with the days under which the history holds their events, if it does."""
    days = _held_days(connection, [row for row in rows if row.day_uncertain], earliest)
    return [row._replace(day=days[row[:4]]) if row[:4] in days else row for row in rows]


def lacking_events(connection: psycopg.Connection, rows: Sequence[EventRow]) -> list[int]:
    """Return the indexes of the rows that the history does not hold, under the days they have."""
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
    """Return one row for each event, that of its earliest entry, whatever days the rows have."""
    merged: dict[_Event, EventRow] = {}
    for row in rows:
        known = merged.setdefault(row[:4], row)
        if row.entry < known.entry:
            merged[row[:4]] = row
    for event, appends in entries.items():
        if len(appends) > 1:
            ms, seq = max(appends)
            merged[event] = merged[event]._replace(last_ms=ms, last_seq=seq, appends=len(appends))
    return list(merged.values())


def _with_new_appends(
    connection: psycopg.Connection,
    rows: Sequence[EventRow],
    entries: Mapping[_Event, set[_EntryId]],
) -> Sequence[EventRow]:
    """Return merged rows that count only the appends which the history does not know.

    The jobs are locked, so that the history of their events does not change meanwhile. A single
    append needs no look-up: the INSERT compares it with what is held.
    """
    repeated = [row[:5] for row in rows if row.appends > 1]
    if not repeated:
        return rows
    columns = [list(column) for column in zip(*repeated, strict=True)]
    found = connection.execute(_QUERIES["held_appends"], columns).fetchall()
    held = {row[:4]: ((row[4], row[5]), (row[6], row[7]), row[8]) for row in found}
    return [
        row._replace(appends=_new_appends(entries[row[:4]], *held[row[:4]]))
        if row[:4] in held
        else row
        for row in rows
    ]


def _new_appends(entries: set[_EntryId], first: _EntryId, last: _EntryId, appends: int) -> int:
    """Return how many of an event's entries are new to its row, which counts some appends.

    The row stores its first and last entry only. So of the entries between those two, only as many
    are counted as are surely new: all of them if the row has two appends.
    """
    outside = sum(not first <= each <= last for each in entries)
    between = sum(first < each < last for each in entries)
    return outside + max(0, len({first, last}) + between - appends)


def _held_days(
    connection: psycopg.Connection, rows: Sequence[EventRow], earliest: Mapping[JobKey, EntryId]
) -> dict[_Event, date]:
    """Return the days under which the history holds these events; it may not hold all of them."""
    # The entries have the time of Redis, which may be ahead of this one.
    latest = (_now() + _CLOCKS_APART).date()
    wanted = []
    for row in rows:
        began = day_at(earliest[JobKey(*row[:3])].ms)
        # If the job began on this day and no later day can have begun, no other day is possible,
        # unless the event id has a time: another append may be stored under the day of that time,
        # even if that is before the job's first entry.
        made = time_in(row.event_id)
        if began < row.day or row.day < latest or made is not None:
            first = began if made is None else min(began, day_at(made))
            wanted.append((*row[:4], first))
    if not wanted:
        return {}
    columns = [list(column) for column in zip(*wanted, strict=True)]
    found = connection.execute(_QUERIES["held_days"], columns)
    return {tuple(event): day for *event, day in found}


def _now() -> datetime:
    return datetime.now(UTC)

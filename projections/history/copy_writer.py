"""The fast writer of the history: COPY of new events directly into the partitions of their weeks.

Nearly every event that a consumer applies is new to the history. A batch of new events needs no
staging and no look-up: the primary key of the partition refuses an event that the history holds
already. Then the batch is merged event by event (`writer.write_events`).

COPY goes to the partition because row-level security is forced on the parent, which refuses COPY.
So this module decides what the parent would decide for an INSERT: the partition of an event, and
that the table of that name is a partition at this moment. Used by `projections.rows.writer`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import NamedTuple

import psycopg
from psycopg import sql

from projections.decoding import Entry, happened_at
from projections.history.days import DAY_MS, day_at, day_of, made_at, monday_of, partition_name
from projections.history.event_rows import event_row
from projections.history.writer import write_events
from sql import queries
from streams.entry_ids import EntryId
from streams.keys import JobKey

_QUERIES = queries("history")

PLAIN_BATCHES = 8
"""Batches that are merged after one with an event that the history held. One such event costs a
complete COPY, and usually more follow: from a redelivery, or a producer that appends again."""

_COLUMNS = "text text text text int4 int8 int8 text int8 int8 bytea".split()
"""Types of the columns of `copy_new_events`. Days and times are sent as the numbers of PostgreSQL's
binary format, and text as bytes, so that no `date`, `datetime` and `str` is made and converted."""

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_EPOCH_DAY = _EPOCH.toordinal()
"""The day from which the binary format counts dates and times."""

_REFUSED = (psycopg.IntegrityError, psycopg.NotSupportedError, psycopg.ProgrammingError)
"""Errors of COPY after which the batch is merged. Merging accepts events that are held already, and
has the constraints and privileges of an INSERT into the parent."""

WireRow = tuple[str, str, str, str, int, int, int, str, int, int, bytes]
"""A row of `copy_new_events`."""


class Week(NamedTuple):
    """The events of one partition."""

    rows: list[WireRow]
    entries: list[Entry]
    """The entries of the rows."""


class NewEvents(NamedTuple):
    """A batch's events, ready for COPY."""

    weeks: Mapping[date, Week]
    """Weeks by their Monday."""
    day_uncertain: Sequence[Entry]
    """Entries whose day may differ between two appends.

    For those, the primary key does not find the other append.
    """

    @property
    def days(self) -> set[date]:
        """Days that need a partition; for a week it is its Monday."""
        uncertain = self.day_uncertain
        return {*self.weeks, *(day_of(each.event.event_id, each.entry_id) for each in uncertain)}


def new_events(entries: Sequence[Entry]) -> NewEvents:
    """Return the rows of entries by week."""
    days: dict[int, tuple[int, Week]] = {}
    weeks: dict[date, Week] = {}
    day_uncertain: list[Entry] = []
    for entry in entries:
        event_id, (ms, seq) = entry.event.event_id, entry.entry_id
        # Inline for speed; must agree with `day_of` and `is_day_uncertain`.
        made = ms if event_id is None else made_at(event_id, ms)
        if made is None:
            if event_id != f"{ms}-{seq}":
                day_uncertain.append(entry)
                continue
            made = ms
        found = days.get(made // DAY_MS)
        if found is None:
            day = day_at(made)
            week = weeks.setdefault(monday_of(day), Week([], []))
            found = days[made // DAY_MS] = day.toordinal() - _EPOCH_DAY, week
        wire_day, week = found
        week.rows.append(_wire_row(entry, wire_day))
        week.entries.append(entry)
    return NewEvents(weeks, day_uncertain)


def _wire_row(entry: Entry, wire_day: int) -> WireRow:
    # Inline for speed; must agree with `event_row`.
    tenant, (ms, seq), event, raw = entry
    at = happened_at(event, entry.entry_id) - _EPOCH
    return (
        tenant,
        event.kind,
        event.id,
        event.event_id or f"{ms}-{seq}",
        wire_day,
        ms,
        seq,
        event.type,
        event.attempt,
        (at.days * 86_400 + at.seconds) * 1_000_000 + at.microseconds,
        raw,
    )


class Batch(NamedTuple):
    """The context in which a batch's events are written."""

    earliest: Mapping[JobKey, EntryId]
    """The earliest entries of their jobs."""
    meanwhile: Callable[[], None] = lambda: None
    """Called while the server works, once after each COPY."""


class HistoryWriter:
    """Writer of batches, which copies them as long as their events are new."""

    def __init__(self) -> None:
        self._plain_batches = 0
        """Batches that are merged, with the current one."""

    def end_batch(self) -> None:
        """Count a batch whose transaction was committed, however often it was run."""
        self._plain_batches = max(0, self._plain_batches - 1)

    def write(self, connection: psycopg.Connection, new: NewEvents, batch: Batch) -> None:
        """Add events.

        A redelivered entry changes nothing. Another append of an event that the history holds
        updates its earliest and latest entry and its number of appends.

        The caller has a transaction open in which it has written, and so locked, their jobs.
        """
        rest = [*new.day_uncertain]
        copied = self._copied(connection, new.weeks, batch)
        for monday, week in new.weeks.items():
            if monday not in copied:
                rest += week.entries
        if rest:
            rows = [event_row(each) for each in rest]
            write_events(connection, rows, batch.earliest, batch.meanwhile)

    def _copied(
        self, connection: psycopg.Connection, weeks: Mapping[date, Week], batch: Batch
    ) -> Collection[date]:
        """Copy the weeks that have a partition, all or none, and return those copied."""
        if not weeks or self._plain_batches:
            return ()
        try:
            # A savepoint: only a refused COPY is rolled back. The rows of `jobs` that were written
            # before remain, and so do their locks.
            with connection.transaction():
                partitions = _partitions(connection, weeks)
                for monday, table in partitions.items():
                    _copy(connection, table, weeks[monday].rows, batch.meanwhile)
        except _REFUSED:
            self._plain_batches = PLAIN_BATCHES + 1
            return ()
        return partitions


def _partitions(
    connection: psycopg.Connection, weeks: Collection[date]
) -> Mapping[date, sql.Identifier]:
    """Return the partitions of weeks that COPY can write; locked, so that they stay attached."""
    names = {partition_name(monday): monday for monday in weeks}
    connection.execute(_QUERIES["keep_partitions"])
    found = connection.execute(_QUERIES["open_partitions"], (list(names),)).fetchall()
    return {names[table]: sql.Identifier(schema, table) for schema, table in found}


def _copy(
    connection: psycopg.Connection,
    table: sql.Identifier,
    rows: Sequence[WireRow],
    meanwhile: Callable[[], None],
) -> None:
    statement = sql.SQL(_QUERIES["copy_new_events"]).format(table)
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types(_COLUMNS)
        write = copy.write_row
        for row in rows:
            write(row)
        meanwhile()

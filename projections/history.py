"""The history: every distinct event as it came, in partitions of a week."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

import psycopg
import structlog
from psycopg import sql

from projections.decoding import Entry, happened_at
from projections.history_days import (
    WEEK,
    day_at,
    day_of,
    is_undated,
    monday_of,
    partition_name,
)
from sql import queries
from streams.entry_ids import EntryId
from streams.keys import JobKey

_LOG = structlog.get_logger(__name__)
_QUERIES = queries("rows")
_RETENTION = queries("retention")

COLUMNS = "text text text text date int8 int8 text int8 timestamptz text int8 int8 int4".split()
"""Types of the columns of `copy_events`, in its order."""

_AHEAD, _BEHIND = 2, 5
"""Weeks from now within which partitions are made; events of others go to the default one."""

MAKE_TRIES, MAKE_PAUSE_SECONDS = 10, 0.1
"""Tries to make a partition, and the pause after each that could not have its locks."""
MAKE_AGAIN_SECONDS = 10.0
"""After a partition could not be made because somebody reads the history for long."""
DROP_TRIES = 5
DELETE_BATCH, DELETE_BATCHES = 5_000, 20
"""Rows of the default partition in one DELETE, and DELETEs in one run."""


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
        """Where the event's earliest entry stands."""
        return self.entry_ms, self.entry_seq

    @property
    def undated(self) -> bool:
        """Whether a retried append of the event may have another day."""
        return is_undated(self.event_id, EntryId(*self.entry))


def event_row(entry: Entry) -> EventRow:
    """Give the row of an entry."""
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
    """Add events to the history; those that it holds already change nothing.

    The caller holds a transaction, in which it has written and locked the events' jobs; `earliest`
    are these jobs' earliest entries. `meanwhile` is called while the server works.
    """
    rows = _once_each(rows)
    held = _held_days(connection, [row for row in rows if row.undated], earliest)
    connection.execute(_QUERIES["stage_events"])
    with connection.cursor() as cursor, cursor.copy(_QUERIES["copy_events"]) as copy:
        copy.set_types(COLUMNS)
        for row in rows:
            day = held.get(row[:4]) if held else None
            copy.write_row(row if day is None else row._replace(day=day))
        meanwhile()
    connection.execute(_QUERIES["insert_events"])


def lacking_events(connection: psycopg.Connection, rows: Sequence[EventRow]) -> list[int]:
    """Return the indexes of those rows that the history does not hold, under the day they have."""
    if not rows:
        return []
    columns = [list(column) for column in zip(*(row[:7] for row in rows), strict=True)]
    return [index for (index,) in connection.execute(_QUERIES["lacking_events"], columns)]


def has_events(connection: psycopg.Connection, tenant: str) -> bool:
    """Whether the history holds anything of the tenant."""
    found = connection.execute(_QUERIES["tenant_has_events"], (tenant,)).fetchone()
    return bool(found and found[0])


def _once_each(rows: Sequence[EventRow]) -> list[EventRow]:
    """Put an event and its retried appends together, also where a day lies between them."""
    events: dict[tuple[object, ...], EventRow] = {}
    for row in rows:
        known = events.setdefault(row[:4], row)
        if known is not row and known.entry != row.entry:
            first, last = sorted((known, row), key=lambda each: each.entry)
            latest = max(last.entry, (known.last_ms or 0, known.last_seq or 0))
            events[row[:4]] = first._replace(
                last_ms=latest[0], last_seq=latest[1], landings=known.landings + 1
            )
    return list(events.values())


def drop_old(connect: Callable[[], psycopg.Connection], keep_days: int) -> list[str]:
    """Drop the history older than so many days, over a connection of its own in autocommit mode."""
    with connect() as connection:
        return drop_before(connection, datetime.now(UTC).date() - timedelta(days=keep_days))


def drop_before(connection: psycopg.Connection, day: date) -> list[str]:
    """Drop the partitions whose every day is before that one; give the names of those dropped.

    A partition in use is left for another time, so that writers never wait for long behind it. Rows
    of the default partition go a bounded number at a time. Not for use within a transaction.
    """
    with connection.transaction():
        # The bounds are read as the server writes them.
        connection.execute("SET LOCAL datestyle = 'ISO, YMD'")
        old = connection.execute(_RETENTION["partitions_before"], (day,)).fetchall()
    dropped = [name for schema, name in old if _drop(connection, schema, name)]
    for _ in range(DELETE_BATCHES):
        deleted = connection.execute(_RETENTION["delete_default"], (day, DELETE_BATCH)).rowcount
        if deleted:
            _LOG.info("history_rows_deleted", before=str(day), count=deleted)
        if deleted < DELETE_BATCH:
            break
    return dropped


def _drop(connection: psycopg.Connection, schema: str, name: str) -> bool:
    statement = sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(schema, name))
    for _ in range(DROP_TRIES):
        try:
            with connection.transaction():
                connection.execute(_RETENTION["become_owner"])
                # Whoever wants the history meanwhile queues behind this wait.
                connection.execute(_RETENTION["lock_partitions"])
                connection.execute(statement)
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            continue
        _LOG.info("partition_dropped", partition=name)
        return True
    _LOG.warning("partition_in_use", partition=name)
    return False


def _held_days(
    connection: psycopg.Connection, rows: Sequence[EventRow], earliest: Mapping[JobKey, EntryId]
) -> dict[tuple[object, ...], date]:
    """Look where the history may hold these events under another day than theirs."""
    today = datetime.now(UTC).date()
    asked = []
    for row in rows:
        began = day_at(earliest[JobKey(*row[:3])].ms)
        if began < row.day or row.day < today:  # else there is no other day
            asked.append((*row[:4], began))
    if not asked:
        return {}
    columns = [list(column) for column in zip(*asked, strict=True)]
    found = connection.execute(_QUERIES["held_days"], columns)
    return {tuple(event): day for *event, day in found}


class Partitions:
    """Makes the weeks that writers are about to need."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._made: set[date] = set()
        self._clock = clock
        self._sleep = sleep
        self._next = float("-inf")

    def ensure(self, connection: psycopg.Connection, days: Iterable[date]) -> None:
        """Make the partitions of these days and of the week to come, outside any transaction.

        One that cannot be made now is made later; until then its events go to the default one.
        """
        if self._clock() < self._next:
            return
        today = datetime.now(UTC).date()
        first, last = monday_of(today - _BEHIND * WEEK), monday_of(today + _AHEAD * WEEK)
        wanted = {monday_of(day) for day in (*days, today, today + WEEK)}
        for monday in sorted(wanted - self._made):
            if first <= monday <= last and not self._made_in_time(connection, monday):
                _LOG.warning(
                    "partition_not_made_yet", week=str(monday), kept_in="job_events_default"
                )
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
                self._make(connection, partition_name(monday), monday)
            except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
                self._sleep(MAKE_PAUSE_SECONDS)
            else:
                return True
        return False

    def _make(self, connection: psycopg.Connection, name: str, monday: date) -> None:
        if _exists(connection, name):
            return
        with connection.transaction():
            connection.execute(_RETENTION["become_owner"])
            connection.execute(_RETENTION["lock_partitions"])
            if _exists(connection, name):
                return
            statements = _attach(name, monday)
            try:
                with connection.transaction():
                    for statement in statements:
                        connection.execute(statement)
            except psycopg.errors.CheckViolation:
                # The default partition holds events of that week already; there they stay.
                _LOG.warning("partition_not_made", partition=name, kept_in="job_events_default")


def _exists(connection: psycopg.Connection, name: str) -> bool:
    found = connection.execute(_RETENTION["partition_exists"], (name,)).fetchone()
    return bool(found and found[0])


def _attach(name: str, monday: date) -> Sequence[sql.Composed]:
    """Attach a table made beside: that locks the parent far less than PARTITION OF does."""
    table = sql.Identifier(name)
    return (
        sql.SQL("CREATE TABLE {} (LIKE job_events INCLUDING ALL)").format(table),
        # By its own name nobody but the owner sees anything in it; policies are on the parent.
        sql.SQL("ALTER TABLE {} ENABLE ROW LEVEL SECURITY").format(table),
        sql.SQL("ALTER TABLE job_events ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})").format(
            table, sql.Literal(monday), sql.Literal(monday + WEEK)
        ),
    )

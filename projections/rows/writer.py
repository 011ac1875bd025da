"""The writer of the projection `rows`: rows and history, in one transaction for each batch.

Consumers use it, and replays, which repair rows by it. Used by `projections.registry.rows` and
`projections.replay.repair`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import psycopg

from projections.batch import EventsByJob, by_job
from projections.decoding import Entry
from projections.fold import fold_all
from projections.history.copy_writer import Batch, HistoryWriter, NewEvents, new_events
from projections.history.event_rows import event_row
from projections.history.partitions import Partitions
from projections.history.writer import lacking_events
from projections.rows.columns import JOB_LISTS, KEY_LENGTH, job_values, state_of_row
from projections.state import JobState
from sql import queries
from sql.retries import with_retries
from sql.sessions import Session
from streams.keys import JobKey

_QUERIES = queries("rows", JOB_LISTS)


class _LostRace(psycopg.errors.SerializationFailure):
    """Another writer inserted a row of the batch first: `with_retries` repeats the transaction."""

    def __init__(self) -> None:
        super().__init__(
            "new rows of jobs could not be inserted: another writer was first; if this error"
            " repeats, row-level security or a trigger hides rows of jobs from this login"
        )


class JobRows:
    """Writer of the tables `jobs` and `job_events`.

    Args:
        connect: opens a connection in autocommit mode; called again after one was lost.
    """

    group = "rows"
    meanwhile: Callable[[], None]
    """Called at most once in each `apply`, even if the transaction is run again, while PostgreSQL
    writes the history, so that a consumer can do other work. An error that it raises rolls the
    batch back and leaves `apply`."""
    while_waiting: Callable[[], None]
    """Called about every 0.1 s during each wait for PostgreSQL, for example for a lock, so that a
    consumer can keep its entries. It must not raise."""

    def __init__(self, connect: Callable[[], Session]) -> None:
        self.meanwhile = self.while_waiting = lambda: None
        self._connect = connect
        self._connection: Session | None = None
        self._partitions = Partitions()
        self._history = HistoryWriter()

    def apply(self, entries: Sequence[Entry]) -> None:
        """Fold the entries into rows and history; applying them again changes nothing.

        Raises:
            psycopg.Error: the batch may not have been stored; apply it again.
        """
        jobs, new = by_job(entries), new_events(entries)
        try:
            connection = self._ready_connection()
            self._partitions.ensure(connection, new.days)
            self._write(connection, jobs, new)
        except psycopg.errors.ReadOnlySqlTransaction:
            # This session may remain read-only after the server accepts writes again.
            self.close()
            raise

    def apply_to_rows(self, entries: Sequence[Entry]) -> None:
        """Fold entries that the history holds already into the rows, and not into the history.

        Raises:
            psycopg.Error: nothing of the batch was stored; apply it again.
        """
        if not entries:
            return
        connection, jobs = self._ready_connection(), by_job(entries)

        def write() -> None:
            with connection.transaction():
                self._write_jobs(connection, jobs)

        with_retries(write)

    def server(self) -> str:
        """Return an id of the server, which changes when another one or a promoted standby answers.

        Raises:
            psycopg.Error: the server is away, or a standby.
        """
        row = self._ready_connection().execute(_QUERIES["server"]).fetchone()
        return str(row[0]) if row else ""

    def restore(self, entries: Sequence[Entry]) -> int:
        """Apply the entries that the history lacks, and return their number.

        Raises:
            psycopg.Error: nothing of them was stored.
        """
        lacking = lacking_events(self._ready_connection(), [event_row(each) for each in entries])
        if lacking:
            self.apply([entries[index] for index in lacking])
        return len(lacking)

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ready_connection(self) -> Session:
        if self._connection is None or self._connection.closed:
            self._connection = self._connect()
            self._connection.while_waiting = self.while_waiting
            self._connection.settle()
            self._partitions = Partitions()
        return self._connection

    def _write(self, connection: Session, jobs: EventsByJob, new: NewEvents) -> None:
        meanwhile = _once(self.meanwhile)

        def write() -> None:
            with connection.transaction():
                states = self._write_jobs(connection, jobs)
                earliest = {job: state.created.entry_id for job, state in states.items()}
                self._history.write(connection, new, Batch(earliest, meanwhile))

        with_retries(write)
        self._history.end_batch()

    def _write_jobs(self, connection: Session, jobs: EventsByJob) -> Mapping[JobKey, JobState]:
        """Write the rows that the events change, and return the states of all their jobs."""
        connection.execute(_QUERIES["plan_by_keys"])
        stored = _lock(connection, jobs)
        states = {
            job: fold_all(stored[job].state if job in stored else None, events)
            for job, events in jobs.items()
        }
        # Each job has an event, and so a state: the condition is for the type checker.
        folded = {job: state for job, state in states.items() if state}
        new = [job_values(job, state) for job, state in folded.items() if job not in stored]
        if new and connection.execute(_QUERIES["insert_jobs"], _arrays(new)).rowcount != len(new):
            raise _LostRace
        changed = [
            (*job_values(job, folded[job]), row.place)
            for job, row in stored.items()
            if folded[job] != row.state
        ]
        if changed:
            _update(connection, changed)
        return folded


def _once(work: Callable[[], None]) -> Callable[[], None]:
    """Return a callable that does the work at the first call, and nothing at later ones."""
    waiting = [work]

    def do() -> None:
        if waiting:
            waiting.pop()()

    return do


class _Locked(NamedTuple):
    """A locked row."""

    state: JobState
    place: str
    """Its ctid, which does not change while it is locked."""


def _lock(connection: psycopg.Connection, jobs: Collection[JobKey]) -> dict[JobKey, _Locked]:
    """Lock and return the existing rows of these jobs."""
    keys = [[job[part] for job in jobs] for part in range(KEY_LENGTH)]
    found = connection.execute(_QUERIES["lock_jobs"], keys)
    return {
        JobKey(*row[:KEY_LENGTH]): _Locked(state_of_row(row), place)
        for *row, place in found.fetchall()
    }


def _update(connection: psycopg.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    if connection.execute(_QUERIES["update_jobs"], _arrays(rows)).rowcount != len(rows):
        raise psycopg.errors.SerializationFailure("a locked row is not at its place any more")


def _arrays(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    """Return the columns of rows, each as an array, for unnest().

    So one statement writes any number of rows. COPY, which is faster, can neither update rows nor
    skip existing ones.
    """
    return [list(column) for column in zip(*rows, strict=True)]

"""The projection `rows`: a row a job, and the history, in one transaction a batch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import psycopg
from psycopg.types.json import Json, Jsonb

from projections.batch import EventsByJob, by_job
from projections.decoding import Entry
from projections.documents import from_positions, progress_fields, write_positions
from projections.fold import fold_all
from projections.history.copy_writer import Batch, HistoryWriter, NewEvents, new_events
from projections.history.writer import Partitions, event_row, lacking_events
from projections.state import JobState, OmittedResult
from sql import queries
from sql.sessions import Session, again
from streams.events import dump_json, load_json
from streams.keys import JobKey
from streams.kinds import KINDS, State

_QUERIES = queries("rows")


class _LostRace(psycopg.errors.SerializationFailure):
    """Another writer made a row of the batch meanwhile: read and fold again."""

    def __init__(self) -> None:
        super().__init__(
            "new rows of jobs could not be inserted: another writer was first; if this error"
            " repeats, row-level security or a trigger hides rows of jobs from this login"
        )


class StoredJob(NamedTuple):
    """A row of `jobs` as `lock_jobs` reads it, without its place."""

    tenant: str
    kind: str
    id: str
    attempt: int
    state: str
    job_type: str | None
    labels: Mapping[str, str]
    worker: str | None
    progress: str | None
    result: str | None
    error: str | None
    code: str | None
    created_at: datetime
    started_at: datetime | None
    updated_at: datetime
    positions: str


class JobRows:
    """Writes `jobs` and `job_events`.

    Args:
        connect: makes a connection in autocommit mode; called again after one was lost.
    """

    group = "rows"
    meanwhile: Callable[[], None]
    """Called at most once in each `apply`, even if the transaction is run again: after the
    history's rows were sent and before their end is awaited, while PostgreSQL works. What it raises
    undoes the batch."""

    def __init__(self, connect: Callable[[], Session]) -> None:
        self.meanwhile = lambda: None
        self._connect = connect
        self._connection: Session | None = None
        self._partitions = Partitions()
        self._history = HistoryWriter()

    def apply(self, entries: Sequence[Entry]) -> None:
        """Fold the entries into rows and history; applying them again changes nothing.

        Raises:
            psycopg.Error: nothing of the batch was stored; apply it again.
        """
        jobs, new = by_job(entries), new_events(entries)
        try:
            connection = self._ready_connection()
            self._partitions.ensure(connection, new.days)
            self._write(connection, jobs, new)
        except psycopg.errors.ReadOnlySqlTransaction:
            # This session may stay read-only for ever, though the server takes writes again.
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

        again(write)

    def server(self) -> str:
        """Return what changes when another server, or a promoted standby, answers.

        Raises:
            psycopg.Error: the server is away, or a standby.
        """
        row = self._ready_connection().execute(_QUERIES["server"]).fetchone()
        return str(row[0]) if row else ""

    def restore(self, entries: Sequence[Entry]) -> int:
        """Apply those of the entries that the history lacks, and return how many those were.

        Raises:
            psycopg.Error: nothing of them was stored.
        """
        lacking = lacking_events(self._ready_connection(), [event_row(each) for each in entries])
        if lacking:
            self.apply([entries[index] for index in lacking])
        return len(lacking)

    def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ready_connection(self) -> Session:
        if self._connection is None or self._connection.closed:
            self._connection = self._connect()
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

        again(write)

    def _write_jobs(self, connection: Session, jobs: EventsByJob) -> Mapping[JobKey, JobState]:
        """Write what the events change, and return the states of all their jobs."""
        connection.execute(_QUERIES["plan_by_keys"])
        stored = _lock(connection, jobs)
        told = {
            job: fold_all(stored[job].state if job in stored else None, events)
            for job, events in jobs.items()
        }
        # Each job has an event here, and so a state: the condition is for the type checker.
        folded = {job: state for job, state in told.items() if state}
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
    """Return a callable that does the work the first time it is called, and then nothing."""
    waiting = [work]

    def do() -> None:
        if waiting:
            waiting.pop()()

    return do


def read_row(row: StoredJob) -> JobState:
    """Give the state back that a row was written from."""
    return from_positions(
        load_json(row.positions.encode()),
        attempt=row.attempt,
        state=State(row.state),
        updated_at=row.updated_at,
        worker=row.worker,
        result=None if row.result is None else load_json(row.result.encode()),
        error=row.error,
        code=row.code,
        created_at=row.created_at,
        started_at=row.started_at,
        job_type=row.job_type,
        labels=row.labels,
        progress=None if row.progress is None else load_json(row.progress.encode()),
    )


def job_row(job: JobKey, state: JobState) -> tuple[Any, ...]:
    """Return the row of a state, in the order of COPY."""
    return tuple(
        value if value is None or form is None else form(value, str.encode)
        for value, form in zip(job_values(job, state), _JSON_FORMS, strict=True)
    )


def job_values(job: JobKey, state: JobState) -> tuple[Any, ...]:
    """Return the row of a state, with JSON as its text."""
    result = state.result
    if isinstance(result, OmittedResult):
        raise TypeError("a row is folded from rows and events, which hold whole results")
    return (
        job.tenant,
        job.kind,
        job.id,
        state.attempt,
        state.state.value,
        KINDS[job.kind].words[state.state],
        state.job_type and state.job_type.value,
        _json({name: told.value for name, told in state.labels.items()}),
        state.worker,
        None if state.progress is None else _json(progress_fields(state.progress)),
        None if result is None else _json(result),
        state.error,
        state.code,
        state.created.at,
        state.started and state.started.at,
        state.updated_at,
        state.updated_at if state.state.ended else None,
        _json(write_positions(state)),
    )


_JSON_FORMS = [*[None] * 7, Jsonb, None, Json, Json, *[None] * 6, Json]


def _json(value: object) -> str:
    return dump_json(value).decode()


class _Locked(NamedTuple):
    """A locked row."""

    state: JobState
    place: str
    """Its ctid, which it keeps while it is locked."""


def _lock(connection: psycopg.Connection, jobs: Collection[JobKey]) -> dict[JobKey, _Locked]:
    """Lock the rows that there are of these jobs, and read them."""
    keys = [[job[part] for job in jobs] for part in range(3)]
    found = connection.execute(_QUERIES["lock_jobs"], keys)
    return {
        JobKey(*row[:3]): _Locked(read_row(StoredJob(*row)), place)
        for *row, place in found.fetchall()
    }


def _update(connection: psycopg.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    if connection.execute(_QUERIES["update_jobs"], _arrays(rows)).rowcount != len(rows):
        raise psycopg.errors.SerializationFailure("a locked row is not at its place any more")


def _arrays(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    """Return the columns of rows, each as an array."""
    return [list(column) for column in zip(*rows, strict=True)]

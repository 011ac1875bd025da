"""The projection `rows`: a row a job, and the history, in one transaction a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import psycopg
from psycopg.types.json import Json, Jsonb

from projections.batch import by_job
from projections.decoding import Entry
from projections.documents import from_positions, progress_fields, write_positions
from projections.fold import fold_all
from projections.history import EventRow, Partitions, event_row, lacking_events, write_events
from projections.state import JobState, OmittedResult
from sql import queries
from sql.sessions import again
from streams.events import dump_json, load_json
from streams.keys import JobKey
from streams.kinds import KINDS, State

_QUERIES = queries("rows")

_COLUMNS = (
    "text text text int8 text text text jsonb text json json text text "
    "timestamptz timestamptz timestamptz timestamptz json bool"
).split()


class _LostRace(Exception):
    """Another writer made a row of the batch meanwhile: read and fold again."""


class StoredJob(NamedTuple):
    """A row of `jobs` as `lock_jobs` reads it."""

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
        meanwhile: called once in each `apply`, after the history's rows were sent and before their
            end is awaited: PostgreSQL works then, and this process may, too. What it raises undoes
            the batch.
    """

    group = "rows"

    def __init__(
        self,
        connect: Callable[[], psycopg.Connection],
        *,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> None:
        self.meanwhile = meanwhile
        self._connect = connect
        self._connection: psycopg.Connection | None = None
        self._partitions = Partitions()

    def apply(self, entries: Sequence[Entry]) -> None:
        """Fold the entries into rows and history; applying them again changes nothing.

        Raises:
            psycopg.Error: nothing of the batch was stored; apply it again.
        """
        events = [event_row(entry) for entry in entries]
        try:
            connection = self._ready_connection()
            self._partitions.ensure(connection, {row.day for row in events})
            self._write(connection, entries, events)
        except psycopg.errors.ReadOnlySqlTransaction:
            # This session may stay read-only for ever, though the server takes writes again.
            self.close()
            raise

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

    def _ready_connection(self) -> psycopg.Connection:
        if self._connection is None or self._connection.closed:
            self._connection = self._connect()
            self._partitions = Partitions()
        return self._connection

    def _write(
        self,
        connection: psycopg.Connection,
        entries: Sequence[Entry],
        events: Sequence[EventRow],
    ) -> None:
        meanwhile = _once(self.meanwhile)
        while True:
            try:
                with connection.transaction():
                    jobs = self._write_jobs(connection, entries)
                    earliest = {job: state.created.entry_id for job, state in jobs.items()}
                    write_events(connection, events, earliest, meanwhile)
            except _LostRace:
                continue
            return

    def _write_jobs(
        self, connection: psycopg.Connection, entries: Sequence[Entry]
    ) -> Mapping[JobKey, JobState]:
        """Write what the entries change, and give the states of all their jobs."""
        jobs = by_job(entries)
        known = _lock(connection, list(jobs))
        told = {job: fold_all(known.get(job), events) for job, events in jobs.items()}
        folded = {job: state for job, state in told.items() if state}
        changed = {job: new for job, new in folded.items() if new != known.get(job)}
        if not changed:
            return folded
        connection.execute(_QUERIES["stage_jobs"])
        with connection.cursor() as cursor, cursor.copy(_QUERIES["copy_jobs"]) as copy:
            copy.set_types(_COLUMNS)
            for job, state in changed.items():
                copy.write_row((*job_row(job, state), job in known))
        new = len(changed.keys() - known.keys())
        if new and connection.execute(_QUERIES["insert_jobs"]).rowcount != new:
            raise _LostRace
        if new < len(changed):
            connection.execute(_QUERIES["update_jobs"])
        return folded


def _once(work: Callable[[], None]) -> Callable[[], None]:
    """Return a callable that does the work the first time it is called, and then nothing."""
    waiting = [work]

    def do() -> None:
        if waiting:
            waiting.pop()()

    return do


def _until_won(transaction: Callable[[], None]) -> None:
    """Run a whole transaction until no other session is in its way."""
    while True:
        try:
            again(transaction)
        except _LostRace:
            continue
        return


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
    """Give the row of a state, in the order of COPY."""
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
        Jsonb({name: told.value for name, told in state.labels.items()}, dump_json),
        state.worker,
        None if state.progress is None else Json(progress_fields(state.progress), dump_json),
        None if result is None else Json(result, dump_json),
        state.error,
        state.code,
        state.created.at,
        state.started and state.started.at,
        state.updated_at,
        state.updated_at if state.state.ended else None,
        Json(write_positions(state), dump_json),
    )


def _lock(connection: psycopg.Connection, jobs: Sequence[JobKey]) -> dict[JobKey, JobState]:
    columns = [[job[part] for job in jobs] for part in range(3)]
    rows = connection.execute(_QUERIES["lock_jobs"], columns).fetchall()
    stored = [StoredJob(*row) for row in rows]
    return {JobKey(row.tenant, row.kind, row.id): read_row(row) for row in stored}

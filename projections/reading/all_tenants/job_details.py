"""One job of any tenant: its row, its result, its history, and the events that decide its state.

Used by `api.operators.job_details`, `api.operators.jobs` and `api.spec.operations.operators`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from projections.decoding import ANY_SIZE, decode_event
from projections.reading.all_tenants.transaction import (
    fetch_all,
    fetch_one,
    progress_of,
    read_transaction,
)
from projections.reading.explain import IdentifiedEvent
from sql import queries
from streams.entry_ids import EntryId
from streams.events import InvalidEvent
from streams.keys import JobKey

_QUERIES = queries("console")

RESULT_BYTES = 65_536
"""The size of a result up to which `read_job` returns it."""
MAX_DECIDING = 2_000
"""The most progress events, and the most other events, that are read to explain a state.

The event that decided the row is read in any case: of several ends, the earliest wins."""
_ROW = (
    "tenant kind id state status job_type attempt worker code error progress result result_bytes "
    "labels created_at started_at updated_at ended_at entry_id"
).split()
"""The columns of the query `job`."""


class HistoryEvent(NamedTuple):
    """One event of a job's history."""

    entry_id: EntryId
    event: str
    """The JSON text as it was appended."""
    appends: int
    """The number of times that it was appended."""


class DecidingEvents(NamedTuple):
    """The events that decide the state of a job."""

    events: Sequence[IdentifiedEvent]
    read: int
    """The number of events in the history that they are, each counted once."""
    total: int
    """The number of events in the job's history."""


async def read_job(connection: AsyncConnection[Any], job: JobKey) -> dict[str, Any] | None:
    """Return a job's row by column; None if it has none.

    `entry_id` is the entry of the event that won. The result is JSON text, and None if it is larger
    than `RESULT_BYTES`; `result_bytes` is its size.
    """
    async with read_transaction(connection):
        values = {**job._asdict(), "result_bytes": RESULT_BYTES}
        row = await fetch_one(connection, _QUERIES["job"], values)
    if row is None:
        return None
    found = dict(zip(_ROW, row, strict=True))
    return found | {"progress": progress_of(found)}


async def read_result(connection: AsyncConnection[Any], job: JobKey) -> str | None:
    """Return a job's result of any size as JSON text; None if it has none."""
    async with read_transaction(connection):
        row = await fetch_one(connection, _QUERIES["result"], job._asdict())
    return row[0] if row else None


async def read_history(
    connection: AsyncConnection[Any], job: JobKey, after: EntryId, limit: int
) -> list[HistoryEvent]:
    """Return at most `limit` events of a job after an entry id, in the order of the stream."""
    values = {**job._asdict(), "ms": after.ms, "seq": after.seq, "limit": limit}
    async with read_transaction(connection):
        rows = await fetch_all(connection, _QUERIES["history"], values)
    return [HistoryEvent(EntryId(ms, seq), event, appends) for ms, seq, event, appends in rows]


async def read_first_events(
    connection: AsyncConnection[Any], job: JobKey, number: int
) -> Sequence[IdentifiedEvent]:
    """Return those of the first `number` events of a job that this version knows.

    An event that was appended again is also returned with its latest entry, if that is not later
    than the last of these events.
    """
    values = {**job._asdict(), "limit": number}
    async with read_transaction(connection):
        rows = await fetch_all(connection, _QUERIES["first_events"], values)
    events = list(_decoded(rows))
    last = EntryId(*rows[-1][:2]) if rows else None
    return [each for each in events if last is not None and each.entry_id <= last]


def _decoded(rows: Sequence[Sequence[Any]]) -> Iterator[IdentifiedEvent]:
    """Decode the events of rows that begin with entry id, text and latest entry id."""
    for ms, seq, text, last_ms, last_seq, *_ in rows:
        try:
            event = decode_event(text.encode(), ANY_SIZE)
        except InvalidEvent:
            continue  # of a newer version
        first = EntryId(ms, seq)
        yield IdentifiedEvent(first, event)
        if last_ms is not None:
            yield IdentifiedEvent(EntryId(last_ms, last_seq), event, first)


async def read_deciding_events(connection: AsyncConnection[Any], job: JobKey) -> DecidingEvents:
    """Return the latest events of a job, and the event that decided its row.

    At most `MAX_DECIDING` events of progress and as many others are read. An event that was
    appended more than once is returned with its earliest and its latest entry, because both count
    in the fold.
    """
    async with read_transaction(connection):
        rows = await fetch_all(
            connection, _QUERIES["deciding_events"], {**job._asdict(), "limit": MAX_DECIDING}
        )
    # All rows of progress, and all others, have the number of these events in the history.
    totals = {(is_progress, total) for *_, total, is_progress in rows if total is not None}
    distinct = {tuple(row[:2]): row for row in rows}
    events = list(_decoded(list(distinct.values())))
    return DecidingEvents(events, len(distinct), sum(total for _, total in totals))

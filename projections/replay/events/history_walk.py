"""A walk through the history and the tail: all events, one job after the other.

The database sorts both together, and the rows are read a page at a time. Large events are not in
these rows, so that a page of them cannot exceed the memory of the process; they are read by their
keys when the walk reaches them. Used by `projections.replay.events.sources`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import psycopg

from projections.replay.events.parts import APPENDS, EVENT, Part, Row, decoded, in_parts
from projections.replay.events.portions import READ_AT_ONCE, READ_BYTES, by_bytes
from sql import queries
from sql.sessions import Session
from streams.keys import JobKey

_QUERIES = queries("rebuild")

SMALL_BYTES = READ_BYTES // READ_AT_ONCE
"""The size of events up to which the rows of a walk contain them."""
_JOB_OF_PART = itemgetter(0)
_LARGE_BYTES: Callable[[Row], int | None] = itemgetter(7)
"""The size of an event that is not in the row of a walk; None where it is."""
_LAST_MS = itemgetter(10)
_LARGE_KEY = ("tenants", "kinds", "ids", "ms", "seqs", "tails", "event_ids", "days")
"""The parameters of `large_events`, an array each."""


def walk(connection: Session, scope: Mapping[str, Any], after: JobKey | None) -> Iterator[Part]:
    """Yield all events of a scope, job by job after the given one.

    The order of jobs is the same for all walks. Meanwhile the connection may be used for other
    statements.

    Args:
        connection: a connection in the transaction that has the tables of the query `prepare`.
        scope: the parameters of the query `walk` that say which tenants and jobs to read.
        after: the walk begins after this job; None for the first job.

    Raises:
        psycopg.Error: the database is away.
    """
    names = ("after_tenant", "after_kind", "after_id")
    bounds = dict(zip(names, after or (None,) * 3, strict=True))
    with connection.cursor("walk") as cursor:
        connection.execute(_QUERIES["sorting_room"])
        values = {**scope, **bounds, "small": SMALL_BYTES}
        cursor.execute(_QUERIES["walk"], values, binary=True)
        for job, pieces in groupby(_pieces(connection, cursor), _JOB_OF_PART):
            yield from in_parts(job, pieces)


def _pieces(connection: Session, cursor: psycopg.ServerCursor[Any]) -> Iterator[Part]:
    """Yield the events page by page; the events of one job may be divided among pages."""
    while page := cursor.fetchmany(READ_AT_ONCE):
        for rows in _portions(page):
            yield from decoded(_both_entries(_with_large_events(connection, rows)))


def _portions(page: Sequence[Row]) -> Iterable[Sequence[Row]]:
    """Divide a page so that the large events of each portion can be held at once."""
    if not any(map(_LARGE_BYTES, page)):
        return [page]
    return by_bytes(page, lambda row: _LARGE_BYTES(row) or 0)


def _with_large_events(connection: Session, rows: Sequence[Row]) -> Sequence[Row]:
    """Return the rows with the large events, read by their keys."""
    if not any(map(_LARGE_BYTES, rows)):
        return rows
    columns = map(list, zip(*(_large_key(row) for row in rows if row[EVENT] is None), strict=True))
    found = connection.execute(
        _QUERIES["large_events"], dict(zip(_LARGE_KEY, columns, strict=True))
    )
    texts = {tuple(key): text for *key, text in found}
    # An event may be missing: old history is dropped at any time.
    return [
        row if row[EVENT] is not None else (*row[:EVENT], texts[_large_key(row)], *row[APPENDS:])
        for row in rows
        if row[EVENT] is not None or _large_key(row) in texts
    ]


def _large_key(row: Row) -> tuple[Any, ...]:
    """Return the key of a large event, in the order of `_LARGE_KEY`."""
    tenant, kind, id_, ms, seq, _, appends, _, event_id, day, *_ = row
    return tenant, kind, id_, ms, seq, appends is None, event_id, day


def _both_entries(rows: Sequence[Row]) -> Sequence[Row]:
    """Return the rows with another one for the latest entry of each event that has two."""
    if not any(map(_LAST_MS, rows)):
        return rows
    both: list[Row] = []
    for row in rows:
        both.append(row)
        *_, last_ms, last_seq = row
        if last_ms is not None:
            both.append((*row[:3], last_ms, last_seq, row[EVENT], 0, *row[APPENDS + 1 :]))
    return both

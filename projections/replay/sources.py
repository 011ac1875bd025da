"""Everything that was ever appended: the history, and what only the logs still hold.

The *tail* is the entries of the logs that the history lacked when they were read. It is kept in a
temporary table, so that the database sorts it together with the history and memory stays bounded,
however far the history is behind. Temporary tables end with their transaction, since behind a
pooler the session may be another client's afterwards: so all that is read is read in one
transaction, in which each statement sees what is committed by then (READ COMMITTED).

The logs are read first and the history after: an entry that is trimmed in between has been stored
in the history before, so nothing falls through the seam. What is seen twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

import psycopg
import redis

from projections.decoding import Entry, decode_each
from projections.history.days import day_after, day_before
from projections.history.writer import COLUMNS, EventRow, event_row
from projections.replay.held_entries import HeldEntries
from projections.replay.history_parts import (
    EVENT,
    LANDINGS,
    RAW,
    READ_BYTES,
    Part,
    Row,
    by_bytes,
    decoded,
    each_entry,
    in_parts,
)
from projections.replay.stream_pages import READ_AT_ONCE, Page, StreamPages
from projections.replay.tenant_shares import ALL, Share
from sql import queries
from sql.sessions import Session
from streams.discovery import tenants
from streams.entry_ids import FIRST, LAST, EntryId
from streams.events import MAX_EVENT_BYTES
from streams.keys import JobKey, Keys

_QUERIES = queries("rebuild")
_STAGE = queries("rows")

SMALL_BYTES = READ_BYTES // READ_AT_ONCE
"""Larger events are not in the rows of a walk: they are read when it comes to them."""
JOBS_AT_ONCE = 500
"""Jobs whose events are looked up together."""
_JOB_OF_PART = itemgetter(0)
_BYTES_OF: Callable[[Row], int | None] = itemgetter(7)
"""Return, of a row of a walk, the size of an event that is left out of it."""


class Range(NamedTuple):
    """Whose jobs are wanted: those with an event from `since` to `until`, both included."""

    since: EntryId = FIRST
    until: EntryId = LAST

    @property
    def narrows(self) -> bool:
        """Whether it leaves anything out."""
        return self != (FIRST, LAST)


class Size(NamedTuple):
    """How much there is to read."""

    held: int
    tail: int
    jobs: int


class Sources:
    """Reads history and logs, of one tenant, of a share or of all; use it from one thread.

    Args:
        connection: nobody else's: it is in a transaction until it is closed.
        max_event_bytes: longer entries of the logs are skipped, as consumers dead-letter them.
    """

    def __init__(
        self,
        client: redis.Redis,
        connection: Session,
        *,
        tenant: str | None = None,
        share: Share = ALL,
        keys: Keys | None = None,
        max_event_bytes: int = MAX_EVENT_BYTES,
    ) -> None:
        self.connection = connection
        self.tenant = tenant
        self.share = share
        self.skipped = 0
        """Entries of the logs that can never be applied; they are dead letters."""
        self._client = client
        self._keys = keys or Keys()
        self._pages = StreamPages(client, self._keys)
        self._max_event_bytes = max_event_bytes
        self._read_to: dict[str, EntryId] = {}
        self._began: dict[str, EntryId] = {}
        self._narrowed = False
        self._prepare()

    def _prepare(self) -> None:
        self.connection.begin()
        self.connection.execute(_STAGE["stage_events"])
        self.connection.execute(_QUERIES["prepare"])

    def commit(self) -> None:
        """Commit what was written on the connection; logs are read anew afterwards."""
        self.connection.commit()
        self._read_to.clear()
        self._prepare()

    def read_logs(self) -> None:
        """Read the logs up to where they end now, and keep what the history lacks.

        Raises:
            redis.RedisError, psycopg.Error: a server is away; make new sources later.
        """
        known = [self.tenant] if self.tenant is not None else tenants(self._client, self._keys)
        held = HeldEntries(self.connection)
        self._keep_pages(
            (tenant, page)
            for tenant in filter(self.share.holds, known)
            for page in self._new_pages(tenant)
            if not held.add(tenant, page)
        )
        self._began = dict(self._read_to)
        self._keep_pages(held.lacking(self._pages, self._whose()))
        self.connection.execute(_QUERIES["analyze_tail"])

    def began(self, tenant: str) -> EntryId:
        """Give where the tenant's log ended when it was first read."""
        return self._began.get(tenant, FIRST)

    def refresh(self, whose: Iterable[str]) -> None:
        """Read on in the logs of these tenants."""
        self._keep_pages((tenant, page) for tenant in whose for page in self._new_pages(tenant))

    def narrow(self, wanted: Range) -> None:
        """Walk only the jobs with an event in the range, from now on."""
        if not wanted.narrows:
            return
        self._narrowed = True
        since, until = wanted
        self.connection.execute(
            _QUERIES["touch_jobs"],
            {
                "since_ms": min(since.ms, LAST.ms),
                "since_seq": min(since.seq, LAST.seq),
                "until_ms": min(until.ms, LAST.ms),
                "until_seq": min(until.seq, LAST.seq),
                "since_day": day_before(since),
                "until_day": day_after(until),
                **self._whose(),
            },
        )

    def size(self) -> Size:
        """Count what a walk will read."""
        row = self.connection.execute(_QUERIES["size"], self._whose()).fetchone()
        return Size(*(row or (0, 0, 0)))

    def events(self) -> int:
        """Count the events that a walk will read."""
        row = self.connection.execute(_QUERIES["events"], self._whose()).fetchone()
        return int(row[0]) if row else 0

    def walk(self, after: JobKey | None = None) -> Iterator[Part]:
        """Give the events job by job, in one order for all walks, beginning after a job.

        Other statements on the connection see what is new meanwhile.
        """
        bounds = dict(
            zip(("after_tenant", "after_kind", "after_id"), after or (None,) * 3, strict=True)
        )
        with self.connection.cursor("walk") as cursor:
            self.connection.execute(_QUERIES["sorting_room"])
            wanted = self._whose() | bounds | {"small": SMALL_BYTES}
            cursor.execute(_QUERIES["walk"], wanted, binary=True)
            for job, pieces in groupby(self._pieces(cursor), _JOB_OF_PART):
                yield from in_parts(job, pieces)

    def _pieces(self, cursor: psycopg.ServerCursor[Any]) -> Iterator[Part]:
        """Yield the events of a walk, those of one job in as many pieces as they were read in."""
        while page := cursor.fetchmany(READ_AT_ONCE):
            for rows in _portions(page):
                yield from decoded(each_entry(self._with_large(rows)))

    def _with_large(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Put the events in that are not in the rows of the walk."""
        if not any(map(_BYTES_OF, rows)):
            return rows
        large = [_key(row) for row in rows if row[EVENT] is None]
        keys = map(list, zip(*large, strict=True))
        names = ("tenants", "kinds", "ids", "ms", "seqs", "tails", "event_ids", "days")
        found = self.connection.execute(
            _QUERIES["large_events"], dict(zip(names, keys, strict=True))
        )
        texts = {tuple(key): text for *key, text in found}
        # Where there is none any more, it went with old history meanwhile.
        return [
            row if row[EVENT] is not None else (*row[:EVENT], texts[_key(row)], *row[LANDINGS:])
            for row in rows
            if row[EVENT] is not None or _key(row) in texts
        ]

    def events_of(self, jobs: Collection[JobKey]) -> Mapping[JobKey, Part]:
        """Give all events of these jobs, as history and tail stand now."""
        parts = {job: Part(job, [], [], []) for job in jobs}
        rows = self.connection.execute(_QUERIES["events_of"], columns(jobs)).fetchall()
        for piece in decoded(rows):
            parts[piece.job].add(piece)
        return parts

    def portions(self, jobs: Collection[JobKey]) -> Iterator[list[JobKey]]:
        """Divide jobs so that the events of each portion, about, can be held at once."""
        listed = list(jobs)
        for at in range(0, len(listed), JOBS_AT_ONCE):
            some = listed[at : at + JOBS_AT_ONCE]
            found = self.connection.execute(_QUERIES["bytes_of"], columns(some))
            sizes = dict.fromkeys(some, 0) | {JobKey(*row[:3]): int(row[3]) for row in found}
            yield from by_bytes(some, sizes.__getitem__)

    def without_events(self, jobs: Collection[JobKey]) -> list[JobKey]:
        """Give those of which nothing was ever said."""
        rows = self.connection.execute(_QUERIES["without_events"], columns(jobs))
        return [JobKey(*row) for row in rows]

    def first_in_log(self, tenant: str) -> EntryId | None:
        """Give the log's oldest entry; None where there is no log."""
        return self._pages.first(tenant)

    def _whose(self) -> dict[str, Any]:
        return {"tenant": self.tenant, "narrowed": self._narrowed, **self.share._asdict()}

    def _new_pages(self, tenant: str) -> Iterator[Page]:
        """Yield what was appended since the last time, up to where the log ends now."""
        last = self._pages.last(tenant)
        if last is None:
            return
        yield from self._pages.after(tenant, self._read_to.get(tenant, FIRST), last)
        self._read_to[tenant] = max(last, self._read_to.get(tenant, FIRST))

    def _keep_pages(self, pages: Iterable[tuple[str, Page]]) -> None:
        """Keep the entries of pages that the history lacks."""
        waiting, waiting_bytes = list[EventRow](), 0
        for tenant, (ids, fields) in pages:
            read = decode_each([tenant] * len(ids), ids, fields, self._max_event_bytes)
            entries = [each for each in read if isinstance(each, Entry)]
            self.skipped += len(read) - len(entries)
            waiting += map(event_row, entries)
            waiting_bytes += sum(map(len, map(RAW, entries)))
            if len(waiting) >= READ_AT_ONCE or waiting_bytes >= READ_BYTES:
                self._keep(waiting)
                waiting, waiting_bytes = [], 0
        self._keep(waiting)

    def _keep(self, rows: Sequence[EventRow]) -> None:
        if not rows:
            return
        with self.connection.cursor() as cursor, cursor.copy(_STAGE["copy_events"]) as copy:
            copy.set_types(COLUMNS)
            for row in rows:
                copy.write_row(row)
        self.connection.execute(_QUERIES["keep_tail"])
        self.connection.execute(_QUERIES["clear_staged"])


def columns(jobs: Iterable[JobKey]) -> dict[str, list[str]]:
    """Give jobs as the arrays that the queries take."""
    listed = list(jobs)
    names = ("tenants", "kinds", "ids")
    return {name: [job[part] for job in listed] for part, name in enumerate(names)}


def _key(row: Row) -> tuple[Any, ...]:
    """Return what a large event of a walk is found by."""
    tenant, kind, id_, ms, seq, _, landings, _, event_id, day, *_ = row
    return tenant, kind, id_, ms, seq, landings is None, event_id, day


def _portions(page: Sequence[Row]) -> Iterable[Sequence[Row]]:
    """Divide a page so that the large events of each portion can be held at once."""
    if not any(map(_BYTES_OF, page)):
        return [page]
    return by_bytes(page, lambda row: _BYTES_OF(row) or 0)

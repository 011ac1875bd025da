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
from datetime import date, timedelta
from importlib.resources import files
from itertools import groupby, repeat
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar

import psycopg
import redis
import structlog

from projections.decoding import (
    DecodedEvent,
    Entry,
    decode_each,
    decode_event,
    decode_events,
)
from projections.history import COLUMNS, EventRow, event_row
from projections.shares import ALL, Share
from sql import queries
from sql.sessions import Session
from streams.discovery import tenants
from streams.entry_ids import FIRST, LAST, EntryId, of_reply
from streams.events import MAX_EVENT_BYTES, InvalidEvent
from streams.keys import JobKey, Keys
from streams.wire import ask

_LOG = structlog.get_logger(__name__)
_QUERIES = queries("rebuild")
_STAGE = queries("rows")

READ_AT_ONCE = 2_000
"""Entries in one page of a log and in one COPY; rows in one fetch."""
READ_BYTES = 16 * 1024 * 1024
"""Bytes of events that are read at once, about; one that is larger is read alone."""
SMALL_BYTES = READ_BYTES // READ_AT_ONCE
"""Larger events are not in the rows of a walk: they are read when it comes to them."""
JOBS_AT_ONCE = 500
"""Jobs whose events are looked up together."""
PART = 10_000
"""Events of one job that are held at once; a longer or larger job comes in several parts."""
_ANY_SIZE = 2**62
"""The history's events were let in when they came, whatever the limit is now."""
_DAYS_OFF = timedelta(days=31)
_JOB_OF_PART = itemgetter(0)
_ID_AND_EVENT = itemgetter(1, 2)
_RAW: Callable[[Entry], bytes] = itemgetter(3)
_Row = tuple[Any, ...]
"""A row of the query `walk`."""
_EVENT, _LANDINGS, _BYTES = 5, 6, 7
_new = tuple.__new__
T = TypeVar("T")


class Part(NamedTuple):
    """Events of one job: all of them, or so many of a very long job that come together."""

    job: JobKey
    held: list[Entry]
    """In the history."""
    tail: list[Entry]
    """In the log alone."""
    landings: list[int]
    """How often each event in the history was appended, as far as that is known."""
    whole: bool = True
    """Whether these are all of the job's events."""

    @property
    def length(self) -> int:
        """How many entries it has."""
        return len(self.held) + len(self.tail)

    def add(self, piece: Part) -> None:
        """Add more of the job's events."""
        self.held.extend(piece.held)
        self.tail.extend(piece.tail)
        self.landings.extend(piece.landings)

    @property
    def events(self) -> list[tuple[EntryId, DecodedEvent]]:
        """The events and their entry ids, as the fold takes them."""
        return list(map(_ID_AND_EVENT, (*self.held, *self.tail)))

    @property
    def bytes(self) -> int:
        """The size of the events."""
        return sum(map(len, map(_RAW, (*self.held, *self.tail))))


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
        self._max_event_bytes = max_event_bytes
        self._read_to: dict[str, EntryId] = {}
        self._began: dict[str, EntryId] = {}
        self._narrowed = False
        script = files("projections").joinpath("read_range.lua").read_text(encoding="utf-8")
        self._read_range = client.register_script(script)
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
        self.refresh(filter(self.share.holds, known))
        self._began = dict(self._read_to)
        self.connection.execute(_QUERIES["analyze_tail"])

    def began(self, tenant: str) -> EntryId:
        """Give where the tenant's log ended when it was first read."""
        return self._began.get(tenant, FIRST)

    def refresh(self, whose: Iterable[str]) -> None:
        """Read on in the logs of these tenants."""
        waiting, waiting_bytes = list[EventRow](), 0
        for tenant in whose:
            for entries in self._new_entries(tenant):
                waiting += map(event_row, entries)
                waiting_bytes += sum(map(len, map(_RAW, entries)))
                if len(waiting) >= READ_AT_ONCE or waiting_bytes >= READ_BYTES:
                    self._keep(waiting)
                    waiting, waiting_bytes = [], 0
        self._keep(waiting)

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
                "since_day": _day_before(since),
                "until_day": _day_after(until),
                **self._whom(),
            },
        )

    def size(self) -> Size:
        """Count what a walk will read."""
        row = self.connection.execute(_QUERIES["size"], self._whom()).fetchone()
        return Size(*(row or (0, 0, 0)))

    def events(self) -> int:
        """Count the events that a walk will read."""
        row = self.connection.execute(_QUERIES["events"], self._whom()).fetchone()
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
            cursor.execute(_QUERIES["walk"], self._whom() | bounds | {"small": SMALL_BYTES})
            for job, pieces in groupby(self._pieces(cursor), _JOB_OF_PART):
                yield from _parts(job, pieces)

    def _pieces(self, cursor: psycopg.ServerCursor[Any]) -> Iterator[Part]:
        """Give the events of a walk, those of one job in as many pieces as they were read in."""
        while page := cursor.fetchmany(READ_AT_ONCE):
            for rows in _portions(page):
                yield from _decoded(self._with_large(rows))

    def _with_large(self, rows: Sequence[_Row]) -> Sequence[_Row]:
        """Put the events in that are not in the rows of the walk."""
        large = [_key(row) for row in rows if row[_EVENT] is None]
        if not large:
            return rows
        keys = map(list, zip(*large, strict=True))
        names = ("tenants", "kinds", "ids", "ms", "seqs", "tails", "event_ids", "days")
        found = self.connection.execute(
            _QUERIES["large_events"], dict(zip(names, keys, strict=True))
        )
        texts = {tuple(key): text for *key, text in found}
        # Where there is none any more, it went with old history meanwhile.
        return [
            row if row[_EVENT] is not None else (*row[:_EVENT], texts[_key(row)], row[_LANDINGS])
            for row in rows
            if row[_EVENT] is not None or _key(row) in texts
        ]

    def events_of(self, jobs: Collection[JobKey]) -> Mapping[JobKey, Part]:
        """Give all events of these jobs, as history and tail stand now."""
        parts = {job: Part(job, [], [], []) for job in jobs}
        rows = self.connection.execute(_QUERIES["events_of"], columns(jobs)).fetchall()
        for piece in _decoded(rows):
            parts[piece.job].add(piece)
        return parts

    def portions(self, jobs: Collection[JobKey]) -> Iterator[list[JobKey]]:
        """Divide jobs so that the events of each portion, about, can be held at once."""
        listed = list(jobs)
        for at in range(0, len(listed), JOBS_AT_ONCE):
            some = listed[at : at + JOBS_AT_ONCE]
            found = self.connection.execute(_QUERIES["bytes_of"], columns(some))
            sizes = dict.fromkeys(some, 0) | {JobKey(*row[:3]): int(row[3]) for row in found}
            yield from _divided(some, sizes.__getitem__)

    def without_events(self, jobs: Collection[JobKey]) -> list[JobKey]:
        """Give those of which nothing was ever said."""
        rows = self.connection.execute(_QUERIES["without_events"], columns(jobs))
        return [JobKey(*row) for row in rows]

    def first_in_log(self, tenant: str) -> EntryId | None:
        """Give the log's oldest entry; None where there is no log."""
        found = ask(self._client, "XRANGE", self._keys.stream(tenant), "-", "+", "COUNT", 1)
        return of_reply(found[0][0]) if found else None

    def _whom(self) -> dict[str, Any]:
        return {"tenant": self.tenant, "narrowed": self._narrowed, **self.share._asdict()}

    def _new_entries(self, tenant: str) -> Iterator[list[Entry]]:
        """Give what was appended since the last time, up to where the log ends now."""
        log = self._keys.stream(tenant)
        newest = ask(self._client, "XREVRANGE", log, "+", "-", "COUNT", 1)
        if not newest:
            return
        end, last = of_reply(newest[0][0]), self._read_to.get(tenant, FIRST)
        while last < end:
            found = self._read_range(
                keys=[log], args=[str(last), str(end), READ_AT_ONCE, READ_BYTES]
            )
            if found:
                ids, fields = zip(*found, strict=True)
                decoded = decode_each([tenant] * len(ids), ids, fields, self._max_event_bytes)
                entries = [each for each in decoded if isinstance(each, Entry)]
                self.skipped += len(decoded) - len(entries)
                yield entries
            last = of_reply(found[-1][0]) if found else end
            self._read_to[tenant] = last

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


def _parts(job: JobKey, pieces: Iterable[Part]) -> Iterator[Part]:
    """Put pieces together to parts that are neither too long nor too large."""
    part, size = Part(job, [], [], []), 0
    for piece in pieces:
        if part.length and (part.length + piece.length > PART or size + piece.bytes > READ_BYTES):
            yield part._replace(whole=False)
            part, size = Part(job, [], [], [], whole=False), 0
        part.add(piece)
        size += piece.bytes
    if part.length:
        yield part


def _decoded(rows: Sequence[_Row]) -> Iterator[Part]:
    """Give the events of rows, decoded together, job by job."""
    raws = [row[_EVENT].encode() for row in rows]
    try:
        events = decode_events(raws, _ANY_SIZE)
    except InvalidEvent:
        yield from _readable(rows)
        return
    columns_ = [list(map(itemgetter(at), rows)) for at in range(_LANDINGS + 1)]
    tenants, kinds, ids, ms, seqs, _, landings = columns_
    entry_ids = map(_new, repeat(EntryId), zip(ms, seqs, strict=True))
    entries = list(map(_new, repeat(Entry), zip(tenants, entry_ids, events, raws, strict=True)))
    start = 0
    for job, run in groupby(zip(tenants, kinds, ids, strict=True)):
        end = start + len(list(run))
        yield _piece(JobKey(*job), entries[start:end], landings[start:end])
        start = end


def _readable(rows: Sequence[_Row]) -> Iterator[Part]:
    """Give the events of rows, decoded one by one, without those that cannot be read."""
    for row in rows:
        try:
            decode_event(row[_EVENT].encode(), _ANY_SIZE)
        except InvalidEvent as error:
            job = JobKey(*row[:3])
            _LOG.error("event_in_history_cannot_be_read", job=job, error=str(error))
        else:
            yield from _decoded([row])


def _piece(job: JobKey, entries: list[Entry], landings: Sequence[int | None]) -> Part:
    """Return entries that came together.

    `landings` is None for an entry of the log alone, and 0 for an event's latest entry, whose
    landings count with its earliest.
    """
    if None not in landings:
        return Part(job, entries, [], [each for each in landings if each])
    piece = Part(job, [], [], [])
    for entry, each in zip(entries, landings, strict=True):
        (piece.tail if each is None else piece.held).append(entry)
        if each:
            piece.landings.append(each)
    return piece


def _key(row: _Row) -> tuple[Any, ...]:
    """Return what a large event of a walk is found by."""
    tenant, kind, id_, ms, seq, _, landings, _, event_id, day = row
    return tenant, kind, id_, ms, seq, landings is None, event_id, day


def _portions(page: Sequence[_Row]) -> Iterable[Sequence[_Row]]:
    """Divide a page so that the large events of each portion can be held at once."""
    if not any(row[_BYTES] for row in page):
        return [page]
    return _divided(page, lambda row: row[_BYTES] or 0)


def _divided(items: Sequence[T], size: Callable[[T], int]) -> Iterator[list[T]]:
    """Divide items into portions of `READ_BYTES` at most; a larger item is a portion of its own."""
    portion, taken = list[T](), 0
    for item in items:
        if portion and taken + size(item) > READ_BYTES:
            yield portion
            portion, taken = [], 0
        portion.append(item)
        taken += size(item)
    if portion:
        yield portion


def _day_before(entry_id: EntryId) -> date:
    day = entry_id.time.date()
    return day - _DAYS_OFF if day - date.min > _DAYS_OFF else date.min


def _day_after(entry_id: EntryId) -> date:
    day = entry_id.time.date()
    return day + _DAYS_OFF if date.max - day > _DAYS_OFF else date.max

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

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

import redis
import structlog

from projections.decoding import Entry, decode, decode_event
from projections.history import COLUMNS, EventRow, event_row
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
"""Entries in one XRANGE and in one COPY; rows in one fetch."""
PART = 10_000
"""Events of one job that are held at once; a longer job comes in several parts."""
_ANY_SIZE = 2**62
"""The history's events were let in when they came, whatever the limit is now."""
_DAYS_OFF = timedelta(days=31)
_JOB = itemgetter(0, 1, 2)


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
    def events(self) -> Iterator[tuple[EntryId, Any]]:
        """What the fold takes."""
        return ((entry.entry_id, entry.event) for entry in (*self.held, *self.tail))


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
    """Reads history and logs, of one tenant or all; use it from one thread.

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
        keys: Keys | None = None,
        max_event_bytes: int = MAX_EVENT_BYTES,
    ) -> None:
        self.connection = connection
        self.tenant = tenant
        self.skipped = 0
        """Entries of the logs that can never be applied; they are dead letters."""
        self._client = client
        self._keys = keys or Keys()
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
        self.refresh(
            [self.tenant] if self.tenant is not None else tenants(self._client, self._keys)
        )
        self._began = dict(self._read_to)
        self.connection.execute(_QUERIES["analyze_tail"])

    def began(self, tenant: str) -> EntryId:
        """Give where the tenant's log ended when it was first read."""
        return self._began.get(tenant, FIRST)

    def refresh(self, whose: Iterable[str]) -> None:
        """Read on in the logs of these tenants."""
        waiting: list[EventRow] = []
        for tenant in whose:
            for entry in self._new_entries(tenant):
                waiting.append(event_row(entry))
                if len(waiting) >= READ_AT_ONCE:
                    self._keep(waiting)
                    waiting = []
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
                "tenant": self.tenant,
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
            cursor.itersize = READ_AT_ONCE
            cursor.execute(_QUERIES["walk"], self._whom() | bounds)
            for job, rows in groupby(cursor, _JOB):
                yield from _parts(JobKey(*job), rows)

    def events_of(self, jobs: Collection[JobKey]) -> Mapping[JobKey, Part]:
        """Give all events of these jobs, as history and tail stand now."""
        parts = {job: Part(job, [], [], []) for job in jobs}
        for row in self.connection.execute(_QUERIES["events_of"], columns(jobs)):
            part = parts[JobKey(*row[:3])]
            _add(part, row)
        return parts

    def without_events(self, jobs: Collection[JobKey]) -> list[JobKey]:
        """Give those of which nothing was ever said."""
        rows = self.connection.execute(_QUERIES["without_events"], columns(jobs))
        return [JobKey(*row) for row in rows]

    def first_in_log(self, tenant: str) -> EntryId | None:
        """Give the log's oldest entry; None where there is no log."""
        found = ask(self._client, "XRANGE", self._keys.stream(tenant), "-", "+", "COUNT", 1)
        return of_reply(found[0][0]) if found else None

    def _whom(self) -> dict[str, Any]:
        return {"tenant": self.tenant, "narrowed": self._narrowed}

    def _new_entries(self, tenant: str) -> Iterator[Entry]:
        """Give what was appended since the last time, up to where the log ends now."""
        log = self._keys.stream(tenant)
        newest = ask(self._client, "XREVRANGE", log, "+", "-", "COUNT", 1)
        if not newest:
            return
        end, last = of_reply(newest[0][0]), self._read_to.get(tenant, FIRST)
        while last < end:
            what = ("XRANGE", log, f"({last}", str(end), "COUNT", READ_AT_ONCE)
            found = ask(self._client, *what)
            for raw_id, fields in found:
                entry_id = of_reply(raw_id)
                try:
                    yield decode(tenant, entry_id, fields, self._max_event_bytes)
                except InvalidEvent:
                    self.skipped += 1
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


def _parts(job: JobKey, rows: Iterable[tuple[Any, ...]]) -> Iterator[Part]:
    part = Part(job, [], [], [])
    for row in rows:
        if len(part.held) + len(part.tail) >= PART:
            yield part._replace(whole=False)
            part = Part(job, [], [], [], whole=False)
        _add(part, row)
    if part.held or part.tail:
        yield part


def _add(part: Part, row: tuple[Any, ...]) -> None:
    tenant, _, _, ms, seq, event, landings = row
    raw = event.encode()
    try:
        entry = Entry(tenant, EntryId(ms, seq), decode_event(raw, _ANY_SIZE), raw)
    except InvalidEvent as error:
        _LOG.error("event_in_history_cannot_be_read", job=part.job, error=str(error))
        return
    if landings is None:
        part.tail.append(entry)
        return
    part.held.append(entry)
    if landings:  # none where it is the same event's latest entry
        part.landings.append(landings)


def _day_before(entry_id: EntryId) -> date:
    day = entry_id.time.date()
    return day - _DAYS_OFF if day - date.min > _DAYS_OFF else date.min


def _day_after(entry_id: EntryId) -> date:
    day = entry_id.time.date()
    return day + _DAYS_OFF if date.max - day > _DAYS_OFF else date.max

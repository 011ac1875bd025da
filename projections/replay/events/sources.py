"""All events: those in the history, and those that only the streams hold (`stream_tail`).

Temporary tables end with their transaction, because behind a connection pooler another client may
have the session afterwards. So everything is read in one transaction, in which each statement sees
what is committed when it begins (READ COMMITTED).

The streams are read first and the history after them: an entry that is trimmed in between was
stored in the history before, so that no event is missed. An event that is read twice changes
nothing. Used by `ops.tasks.replay`, `projections.registry.definition` and `projections.replay`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import redis

from projections.replay.events.history_walk import walk
from projections.replay.events.parts import Part, decoded
from projections.replay.events.portions import by_bytes
from projections.replay.events.stream_tail import StreamTail
from projections.replay.job_arrays import job_arrays
from projections.replay.tenant_shares import ALL, Share
from sql import queries
from sql.sessions import Session
from streams.cluster import keys_of
from streams.discovery import tenants
from streams.entry_ids import FIRST, LAST, EntryId
from streams.events import MAX_EVENT_BYTES
from streams.keys import JobKey, Keys

_QUERIES = queries("rebuild")

JOBS_AT_ONCE = 500
"""Jobs whose sizes are read in one statement."""


class EntryRange(NamedTuple):
    """Entry ids from `since` to `until`, both included."""

    since: EntryId = FIRST
    until: EntryId = LAST

    @property
    def narrows(self) -> bool:
        """True if an entry id is outside the range."""
        return self != (FIRST, LAST)


class EventCounts(NamedTuple):
    """The number of events and jobs that a walk reads."""

    held: int
    """Events in the history."""
    tail: int
    """Events that only the streams hold."""
    jobs: int


class Sources:
    """Reader of the events of one tenant, of a share of the tenants, or of all; for one thread.

    All methods raise redis.RedisError or psycopg.Error where a server is away; then new sources
    must be made.

    Args:
        connection: used by these sources alone; it stays in a transaction until it is closed.
        tenant: the only tenant to read; None for all tenants of the share.
        share: the tenants to read.
        max_event_bytes: longer entries of the streams are skipped, because consumers move them to
            the dead letters.
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
        self._client = client
        self._keys = keys or keys_of(client)
        self._tail = StreamTail(client, connection, self._keys, max_event_bytes)
        self._narrowed = False
        self._begin()

    @property
    def skipped(self) -> int:
        """Entries of the streams that can never be applied; consumers make them dead letters."""
        return self._tail.skipped

    def commit(self) -> None:
        """Commit what was written on the connection; the streams count as unread afterwards."""
        self.connection.commit()
        self._begin()

    def read_streams(self) -> None:
        """Read the streams up to their present ends; keep the entries that the history lacks."""
        known = [self.tenant] if self.tenant is not None else tenants(self._client, self._keys)
        self._tail.read(filter(self.share.holds, known), self._scope())

    def read_on(self, tenants: Iterable[str]) -> None:
        """Read what was appended to the streams of some tenants since the last time."""
        self._tail.read_on(tenants)

    def first_end(self, tenant: str) -> EntryId:
        """Return the id of the stream's newest entry when `read_streams` read it."""
        return self._tail.first_end(tenant)

    def oldest_entry(self, tenant: str) -> EntryId | None:
        """Return the id of the stream's oldest entry; None for an empty or missing stream."""
        return self._tail.oldest_entry(tenant)

    def narrow(self, entries: EntryRange) -> None:
        """Restrict walks and counts to jobs of which an event is in the range.

        An event that was appended several times counts by its first and its last entry.
        """
        if not entries.narrows:
            return
        self._narrowed = True
        since, until = entries
        self.connection.execute(
            _QUERIES["touch_jobs"],
            {
                "since_ms": min(since.ms, LAST.ms),
                "since_seq": min(since.seq, LAST.seq),
                "until_ms": min(until.ms, LAST.ms),
                "until_seq": min(until.seq, LAST.seq),
                **self._scope(),
            },
        )

    def counts(self) -> EventCounts:
        """Count the events and jobs that a walk will read."""
        row = self.connection.execute(_QUERIES["size"], self._scope()).fetchone()
        return EventCounts(*(row or (0, 0, 0)))

    def count_events(self) -> int:
        """Count the events alone, in less time than `counts`."""
        row = self.connection.execute(_QUERIES["events"], self._scope()).fetchone()
        return int(row[0]) if row else 0

    def walk(self, after: JobKey | None = None) -> Iterator[Part]:
        """Yield all events, job by job after the given one, in the same order at each call.

        Meanwhile the other methods may be called; they see what was appended since.
        """
        return walk(self.connection, self._scope(), after)

    def events_of(self, jobs: Collection[JobKey]) -> Mapping[JobKey, Part]:
        """Return all events of some jobs, from the history and the tail as they are now."""
        parts = {job: Part(job, [], [], []) for job in jobs}
        rows = self.connection.execute(_QUERIES["events_of"], job_arrays(jobs)).fetchall()
        for piece in decoded(rows):
            parts[piece.job].add(piece)
        return parts

    def portions(self, jobs: Collection[JobKey]) -> Iterator[list[JobKey]]:
        """Divide jobs so that the events of each portion can be held in memory."""
        listed = list(jobs)
        for start in range(0, len(listed), JOBS_AT_ONCE):
            some = listed[start : start + JOBS_AT_ONCE]
            found = self.connection.execute(_QUERIES["bytes_of"], job_arrays(some))
            sizes = dict.fromkeys(some, 0) | {JobKey(*row[:3]): int(row[3]) for row in found}
            yield from by_bytes(some, sizes.__getitem__)

    def without_events(self, jobs: Collection[JobKey]) -> list[JobKey]:
        """Return the jobs that have no event, neither in the history nor in the tail."""
        rows = self.connection.execute(_QUERIES["without_events"], job_arrays(jobs))
        return [JobKey(*row) for row in rows]

    def _begin(self) -> None:
        self.connection.begin()
        self._tail.begin()

    def _scope(self) -> dict[str, Any]:
        """Return the parameters that restrict queries to these tenants and jobs."""
        return {"tenant": self.tenant, "narrowed": self._narrowed, **self.share._asdict()}

"""The tail: the entries of the streams that the history lacked when they were read.

It is kept in a temporary table, so that the database sorts it together with the history and the
memory of the process stays bounded, however far the history is behind. Used by
`projections.replay.events.sources`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import redis

from projections.decoding import Entry, decode_each
from projections.history.event_rows import COLUMN_TYPES, EventRow, event_row
from projections.replay.events.missing_entries import MissingEntries
from projections.replay.events.parts import RAW
from projections.replay.events.portions import READ_AT_ONCE, READ_BYTES
from projections.replay.events.stream_pages import StreamPage, StreamPages
from sql import queries
from sql.sessions import Session
from streams.entry_ids import FIRST, EntryId
from streams.keys import Keys

_QUERIES = queries("rebuild")
_STAGE = queries("history")


class StreamTail:
    """Entries of streams that only the streams hold, and how far each stream was read.

    Methods that read raise redis.RedisError or psycopg.Error if a server is unavailable; then the
    transaction must be ended.

    Args:
        connection: a connection in a transaction, which ends with the tail.
        max_event_bytes: longer entries are skipped, because consumers move them to the dead
            letters.
    """

    def __init__(
        self, client: redis.Redis, connection: Session, keys: Keys, max_event_bytes: int
    ) -> None:
        self.skipped = 0
        """Entries that can never be applied: consumers move them to the dead letters."""
        self._connection = connection
        self._pages = StreamPages(client, keys)
        self._max_event_bytes = max_event_bytes
        self._read_to: dict[str, EntryId] = {}
        self._first_end: dict[str, EntryId] = {}

    def begin(self) -> None:
        """Prepare the temporary tables for a new transaction; all streams count as unread."""
        self._connection.execute(_STAGE["stage_events"])
        self._connection.execute(_QUERIES["prepare"])
        self._read_to.clear()

    def read(self, tenants: Iterable[str], scope: Mapping[str, Any]) -> None:
        """Read the streams of tenants up to their present ends.

        `scope` has the parameters of the query `lacking_entries` that select the same tenants.
        """
        # Pages that cannot be compared are kept at once.
        missing = MissingEntries(self._connection)
        self._keep_pages(
            (tenant, page)
            for tenant in tenants
            for page in self._new_pages(tenant)
            if not missing.add(tenant, page)
        )
        self._first_end = dict(self._read_to)
        self._keep_pages(missing.read_again(self._pages, scope))
        self._connection.execute(_QUERIES["analyze_tail"])

    def read_on(self, tenants: Iterable[str]) -> None:
        """Read what was appended to the streams of some tenants since the last time."""
        self._keep_pages((tenant, page) for tenant in tenants for page in self._new_pages(tenant))

    def first_end(self, tenant: str) -> EntryId:
        """Return the id of the newest entry when `read` read the stream; FIRST for an empty one."""
        return self._first_end.get(tenant, FIRST)

    def oldest_entry(self, tenant: str) -> EntryId | None:
        """Return the id of the stream's oldest entry; None for an empty or missing stream."""
        return self._pages.first(tenant)

    def _new_pages(self, tenant: str) -> Iterator[StreamPage]:
        """Yield what was appended since the last time, up to the present end of the stream."""
        last = self._pages.last(tenant)
        if last is None:
            return
        yield from self._pages.after(tenant, self._read_to.get(tenant, FIRST), last)
        self._read_to[tenant] = max(last, self._read_to.get(tenant, FIRST))

    def _keep_pages(self, pages: Iterable[tuple[str, StreamPage]]) -> None:
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
        with self._connection.cursor() as cursor, cursor.copy(_STAGE["copy_events"]) as copy:
            copy.set_types(COLUMN_TYPES)
            for row in rows:
                copy.write_row(row)
        self._connection.execute(_QUERIES["keep_tail"])
        self._connection.execute(_QUERIES["clear_staged"])

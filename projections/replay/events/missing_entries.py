"""Finding the entries of the streams that the history does not hold.

While consumers run, the history holds nearly all entries of the streams. So only the identities of
the entries are sent to the database, which compares all of them with the history in one scan. The
entries that it lacks, or may lack, are read from the streams a second time. An entry that is
trimmed in between was stored in the history before, where the replay reads it. Used by
`projections.replay.events.stream_tail`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from msgspec import DecodeError, Struct
from msgspec.json import Decoder

from projections.history.days import day_before
from projections.replay.events.portions import READ_AT_ONCE
from projections.replay.events.stream_pages import StreamPage, StreamPages
from sql import queries
from sql.sessions import Session
from streams.entries import FIELD, is_tenant
from streams.entry_ids import LAST, EntryId, of_replies, of_reply

_QUERIES = queries("rebuild")
_TYPES = "text text text text int8 int8".split()
"""The types of the columns of an identity."""
_NUL = b"\\u0000"

Identity = tuple[str, str, str, str, int, int]
"""Tenant, kind, id, event id, and both parts of the entry id."""


class _Identified(Struct, gc=False):
    """The fields of an event that its identity consists of; no other field is decoded."""

    id: str
    kind: str = "job"
    event_id: str | None = None


_DECODE: Callable[[bytes], _Identified] = Decoder(_Identified).decode


def identities(tenant: str, page: StreamPage) -> list[Identity] | None:
    """Return the identities under which the history would hold the entries of a page.

    None where an entry has no such identity; it may still be a valid event.
    """
    raws = [fields[1] for fields in page.fields if fields[0] == FIELD]
    entry_ids = of_replies(page.ids)
    if len(raws) < len(entry_ids) or not is_tenant(tenant) or _NUL in b"\n".join(raws):
        return None
    if max(map(max, entry_ids)) > LAST.ms:
        return None
    try:
        events = list(map(_DECODE, raws))
    except (DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return [
        (tenant, event.kind, event.id, event.event_id or f"{ms}-{seq}", ms, seq)
        for event, (ms, seq) in zip(events, entry_ids, strict=True)
    ]


class MissingEntries:
    """Entries of many streams, compared with the history together.

    Args:
        connection: a connection in the transaction that has the tables of the query `prepare`.
    """

    def __init__(self, connection: Session) -> None:
        self._connection = connection
        self._waiting: list[Identity] = []
        self._oldest = LAST

    def add(self, tenant: str, page: StreamPage) -> bool:
        """Add the entries of a page; return False, and add none, if they have no identities."""
        found = identities(tenant, page)
        if found is None:
            return False
        self._waiting += found
        self._oldest = min(self._oldest, of_reply(page.ids[0]))
        if len(self._waiting) >= READ_AT_ONCE:
            self._send()
        return True

    def read_again(
        self, pages: StreamPages, scope: Mapping[str, Any]
    ) -> Iterator[tuple[str, StreamPage]]:
        """Yield the added entries that the history lacks, or may lack, with their tenants.

        Args:
            pages: reads them from the streams.
            scope: the parameters of the query `lacking_entries` that select tenants.
        """
        self._send()
        with self._connection.cursor("lacking") as cursor:
            values = {"since_day": day_before(self._oldest), **scope}
            cursor.execute(_QUERIES["lacking_entries"], values)
            while found := cursor.fetchmany(READ_AT_ONCE):
                for tenant, rows in groupby(found, itemgetter(0)):
                    yield from _selected(pages, tenant, {EntryId(*row[1:]) for row in rows})
        self._connection.execute(_QUERIES["clear_read"])

    def _send(self) -> None:
        if not self._waiting:
            return
        statement = _QUERIES["copy_read_entries"]
        with self._connection.cursor() as cursor, cursor.copy(statement) as copy:
            copy.set_types(_TYPES)
            for row in self._waiting:
                copy.write_row(row)
        self._waiting = []


def _selected(
    pages: StreamPages, tenant: str, wanted: set[EntryId]
) -> Iterator[tuple[str, StreamPage]]:
    """Yield the wanted entries of a stream."""
    for ids, fields in pages.between(tenant, min(wanted), max(wanted)):
        kept: Sequence[tuple[Any, Any]] = [
            pair
            for pair, entry_id in zip(zip(ids, fields, strict=True), of_replies(ids), strict=True)
            if entry_id in wanted
        ]
        if kept:
            yield tenant, StreamPage(*zip(*kept, strict=True))

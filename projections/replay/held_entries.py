"""Finding the entries of the streams that the history does not hold.

After a live projection the history holds nearly all that the streams still do. So only what an
entry is known by is sent to the database, which compares all of it with the history in one scan.
What it lacks, or may lack, is read from the streams again. An entry that is trimmed in between was
stored in the history before, where a walk finds it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from msgspec import DecodeError, Struct
from msgspec.json import Decoder

from projections.history.days import day_before
from projections.replay.stream_pages import READ_AT_ONCE, Page, StreamPages
from sql import queries
from sql.sessions import Session
from streams.entries import FIELD, is_tenant
from streams.entry_ids import LAST, EntryId, of_replies, of_reply

_QUERIES = queries("rebuild")
_TYPES = "text text text text int8 int8".split()
_NUL = b"\\u0000"

Identity = tuple[str, str, str, str, int, int]
"""Tenant, kind, id, event id, and both parts of the entry id."""


class _Identified(Struct, gc=False):
    """The fields that an event is known by; nothing else of it is looked at."""

    id: str
    kind: str = "job"
    event_id: str | None = None


_DECODE: Callable[[bytes], _Identified] = Decoder(_Identified).decode


def identities(tenant: str, page: Page) -> list[Identity] | None:
    """Return what the entries of a page are known by in the history.

    None where one of them cannot be compared so: it may still be an event, or none at all.
    """
    raws = [fields[1] for fields in page.fields if fields[0] == FIELD]
    entry_ids = of_replies(page.ids)
    if len(raws) < len(entry_ids) or not is_tenant(tenant) or _NUL in b"\n".join(raws):
        return None
    if max(map(max, entry_ids)) > LAST.ms:
        return None
    try:
        events = list(map(_DECODE, raws))
    except (DecodeError, RecursionError):
        return None
    return [
        (tenant, event.kind, event.id, event.event_id or f"{ms}-{seq}", ms, seq)
        for event, (ms, seq) in zip(events, entry_ids, strict=True)
    ]


class HeldEntries:
    """Entries that are compared with the history together.

    Args:
        connection: in a transaction that has the tables of `prepare`.
    """

    def __init__(self, connection: Session) -> None:
        self._connection = connection
        self._waiting: list[Identity] = []
        self._oldest = LAST

    def add(self, tenant: str, page: Page) -> bool:
        """Add the entries of a page; return False, and add none, if they cannot be compared."""
        found = identities(tenant, page)
        if found is None:
            return False
        self._waiting += found
        self._oldest = min(self._oldest, of_reply(page.ids[0]))
        if len(self._waiting) >= READ_AT_ONCE:
            self._send()
        return True

    def lacking(self, pages: StreamPages, whose: Mapping[str, Any]) -> Iterator[tuple[str, Page]]:
        """Yield the entries that the history lacks, or may lack, as the streams have them now.

        `whose` is the tenant or the share that `lacking_entries` takes.
        """
        self._send()
        with self._connection.cursor("lacking") as cursor:
            wanted = {"since_day": day_before(self._oldest), **whose}
            cursor.execute(_QUERIES["lacking_entries"], wanted)
            while found := cursor.fetchmany(READ_AT_ONCE):
                for tenant, rows in groupby(found, itemgetter(0)):
                    yield from _read_again(pages, tenant, {EntryId(*row[1:]) for row in rows})
        self._connection.execute(_QUERIES["clear_read"])

    def _send(self) -> None:
        if not self._waiting:
            return
        with (
            self._connection.cursor() as cursor,
            cursor.copy(_QUERIES["copy_read_entries"]) as copy,
        ):
            copy.set_types(_TYPES)
            for row in self._waiting:
                copy.write_row(row)
        self._waiting = []


def _read_again(
    pages: StreamPages, tenant: str, wanted: set[EntryId]
) -> Iterator[tuple[str, Page]]:
    for ids, fields in pages.between(tenant, min(wanted), max(wanted)):
        kept: Sequence[tuple[Any, Any]] = [
            pair
            for pair, entry_id in zip(zip(ids, fields, strict=True), of_replies(ids), strict=True)
            if entry_id in wanted
        ]
        if kept:
            yield tenant, Page(*zip(*kept, strict=True))

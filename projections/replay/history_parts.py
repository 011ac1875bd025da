"""Events of the history as walks give them: decoded together, job by job, in parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby, repeat
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar

import structlog

from projections.decoding import DecodedEvent, Entry, decode_event, decode_events
from streams.entry_ids import EntryId
from streams.events import InvalidEvent
from streams.keys import JobKey

_LOG = structlog.get_logger(__name__)

READ_BYTES = 16 * 1024 * 1024
"""Bytes of events that are read at once, about; one that is larger is read alone."""
PART = 10_000
"""Events of one job that are held at once; a longer or larger job comes in several parts."""
_ANY_SIZE = 2**62
"""The history's events were let in when they came, whatever the limit is now."""
_ID_AND_EVENT = itemgetter(1, 2)
RAW: Callable[[Entry], bytes] = itemgetter(3)
Row = tuple[Any, ...]
"""Tenant, kind, id, both parts of the entry id, event, landings; more may follow."""
EVENT, LANDINGS = 5, 6
_LAST_MS = itemgetter(10)
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
    """The number of times that each event in the history was appended, as far as it is known."""
    whole: bool = True
    """True where these are all of the job's events."""

    @property
    def length(self) -> int:
        """The number of its entries."""
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
        return sum(map(len, map(RAW, (*self.held, *self.tail))))


def in_parts(job: JobKey, pieces: Iterable[Part]) -> Iterator[Part]:
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


def each_entry(rows: Sequence[Row]) -> Sequence[Row]:
    """Return rows of a walk, with one more for the latest entry of an event that has two."""
    if not any(map(_LAST_MS, rows)):
        return rows
    both: list[Row] = []
    for row in rows:
        both.append(row)
        *_, last_ms, last_seq = row
        if last_ms is not None:
            both.append((*row[:3], last_ms, last_seq, row[EVENT], 0, *row[LANDINGS + 1 :]))
    return both


def decoded(rows: Sequence[Row]) -> Iterator[Part]:
    """Yield the events of rows, decoded together, job by job."""
    raws = [row[EVENT].encode() for row in rows]
    try:
        events = decode_events(raws, _ANY_SIZE)
    except InvalidEvent:
        yield from _readable(rows)
        return
    if not rows:
        return
    tenants, kinds, ids, ms, seqs, _, landings, *_ = zip(*rows, strict=True)
    entry_ids = map(_new, repeat(EntryId), zip(ms, seqs, strict=True))
    entries = list(map(_new, repeat(Entry), zip(tenants, entry_ids, events, raws, strict=True)))
    start = 0
    for job, run in groupby(zip(tenants, kinds, ids, strict=True)):
        end = start + len(list(run))
        yield _piece(JobKey(*job), entries[start:end], landings[start:end])
        start = end


def _readable(rows: Sequence[Row]) -> Iterator[Part]:
    """Yield the events of rows, decoded one by one, without those that cannot be read."""
    for row in rows:
        try:
            decode_event(row[EVENT].encode(), _ANY_SIZE)
        except InvalidEvent as error:
            job = JobKey(*row[:3])
            _LOG.error("event_in_history_cannot_be_read", job=job, error=str(error))
        else:
            yield from decoded([row])


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


def by_bytes(items: Sequence[T], size: Callable[[T], int]) -> Iterator[list[T]]:
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

"""Events of jobs in parts of bounded size, decoded from rows of the database.

Walks through the history (`history_walk`) and look-ups of single jobs (`sources`) read rows, and
return `Part`s of them. Replays and verification fold the parts. Used by
`projections.registry.definition`, `projections.replay.comparison`, `projections.replay.events`,
`projections.replay.folded_jobs` and `projections.replay.repair`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby, repeat
from operator import itemgetter
from typing import Any, NamedTuple

import structlog

from projections.decoding import ANY_SIZE, DecodedEvent, Entry, decode_event, decode_events
from projections.replay.events.portions import READ_BYTES
from streams.entry_ids import EntryId
from streams.events import InvalidEvent
from streams.keys import JobKey

_LOG = structlog.get_logger(__name__)

PART_EVENTS = 10_000
"""Events in one part; a job that has more, or larger ones, is divided into several parts."""
RAW: Callable[[Entry], bytes] = itemgetter(3)
_ID_AND_EVENT = itemgetter(1, 2)
Row = tuple[Any, ...]
"""Tenant, kind, id, both parts of the entry id, event and count of appends, as the queries `walk`
and `events_of` return them; rows of a walk have more columns.

The count is None for an entry that only the stream holds. It is 0 for the latest entry of an event
that was appended more than once: its appends are counted at its earliest entry."""
EVENT, APPENDS = 5, 6
"""Indexes in a row."""
_new_tuple = tuple.__new__  # builds a named tuple without the cost of its own constructor


class Part(NamedTuple):
    """Events of one job: all of them, or some of a job that has too many to be held at once."""

    job: JobKey
    held: list[Entry]
    """Entries that the history holds."""
    tail: list[Entry]
    """Entries that only the stream holds."""
    appends: list[int]
    """The number of times that each event in the history was appended, as far as it is known."""
    complete: bool = True
    """True where these are all of the job's events."""

    @property
    def length(self) -> int:
        """The number of its entries."""
        return len(self.held) + len(self.tail)

    def add(self, piece: Part) -> None:
        """Add more of the job's events."""
        self.held.extend(piece.held)
        self.tail.extend(piece.tail)
        self.appends.extend(piece.appends)

    @property
    def events(self) -> list[tuple[EntryId, DecodedEvent]]:
        """The events and their entry ids, as the fold takes them."""
        return list(map(_ID_AND_EVENT, (*self.held, *self.tail)))

    @property
    def bytes(self) -> int:
        """The size of the events in bytes."""
        return sum(map(len, map(RAW, (*self.held, *self.tail))))


def in_parts(job: JobKey, pieces: Iterable[Part]) -> Iterator[Part]:
    """Join pieces of a job to parts of at most `PART_EVENTS` events and about `READ_BYTES`."""
    part, size = Part(job, [], [], []), 0
    for piece in pieces:
        too_long = part.length + piece.length > PART_EVENTS or size + piece.bytes > READ_BYTES
        if part.length and too_long:
            yield part._replace(complete=False)
            part, size = Part(job, [], [], [], complete=False), 0
        part.add(piece)
        size += piece.bytes
    if part.length:
        yield part


def decoded(rows: Sequence[Row]) -> Iterator[Part]:
    """Yield the events of rows, decoded together, job by job.

    Events that this version cannot read are logged and left out.
    """
    raws = [row[EVENT].encode() for row in rows]
    try:
        events = decode_events(raws, ANY_SIZE)
    except InvalidEvent:
        yield from _readable(rows)
        return
    if not rows:
        return
    tenants, kinds, ids, ms, seqs, _, appends, *_ = zip(*rows, strict=True)
    entry_ids = map(_new_tuple, repeat(EntryId), zip(ms, seqs, strict=True))
    columns = zip(tenants, entry_ids, events, raws, strict=True)
    entries = list(map(_new_tuple, repeat(Entry), columns))
    start = 0
    for job, run in groupby(zip(tenants, kinds, ids, strict=True)):
        end = start + len(list(run))
        yield _piece(JobKey(*job), entries[start:end], appends[start:end])
        start = end


def _readable(rows: Sequence[Row]) -> Iterator[Part]:
    """Yield the events of rows, decoded one by one, without those that cannot be read."""
    for row in rows:
        try:
            decode_event(row[EVENT].encode(), ANY_SIZE)
        except InvalidEvent as error:
            job = JobKey(*row[:3])
            _LOG.error("event_in_history_cannot_be_read", job=job, error=str(error))
        else:
            yield from decoded([row])


def _piece(job: JobKey, entries: list[Entry], appends: Sequence[int | None]) -> Part:
    """Divide entries of a job by their counts of appends, as `Row` describes them."""
    if None not in appends:
        return Part(job, entries, [], [each for each in appends if each])
    piece = Part(job, [], [], [])
    for entry, each in zip(entries, appends, strict=True):
        (piece.tail if each is None else piece.held).append(entry)
        if each:
            piece.appends.append(each)
    return piece

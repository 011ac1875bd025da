"""Repair: all events are applied to a projection again, through the writers that consumers use.

That restores what is lost and adds what is missing. It leaves what is newer than the events,
because these writers never replace a newer state; a reset (`reset`) does. Used by
`projections.registry.definition`, `projections.registry.rows` and `projections.registry.status`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Protocol

from projections.replay.events.parts import Part
from projections.replay.events.portions import READ_BYTES
from projections.replay.events.sources import Sources
from projections.replay.folded_jobs import fold_part
from projections.replay.served.documents import ServedDocuments
from projections.replay.step import ReplayStep
from projections.rows.writer import JobRows
from projections.status.writer import StatusCache
from sql.sessions import Session
from streams.keys import JobKey

BATCH_EVENTS = 4_000
"""Approximate number of events that are applied together; fewer if they are large."""


class PartWriter(Protocol):
    """Writer of a projection that takes the parts of a walk."""

    def apply(self, parts: Sequence[Part]) -> int:
        """Apply events; return the number of jobs that were left expired."""
        ...


class StatusRepair:
    """Writer of documents, except for those that would have expired by now."""

    def __init__(self, cache: StatusCache, served: ServedDocuments) -> None:
        self._cache = cache
        self._served = served

    def apply(self, parts: Sequence[Part]) -> int:
        """Fold events into the documents; raises as `StatusCache.apply`."""
        living = [part for part in parts if not self._is_expired(part)]
        self._cache.apply([entry for part in living for entry in (*part.held, *part.tail)])
        return len(parts) - len(living)

    def _is_expired(self, part: Part) -> bool:
        newest = max(entry_id for entry_id, _ in part.events)
        if not part.complete or self._served.cannot_be_expired(newest):
            return False
        folded = fold_part(part)
        return folded is not None and self._served.may_be_absent(folded.state, newest)


class RowsRepair:
    """Writer of rows, which also adds to the history the events that only the streams hold.

    Args:
        connect: opens a connection in autocommit mode; called when there is something to write.
    """

    def __init__(self, connect: Callable[[], Session]) -> None:
        self._rows = JobRows(connect)

    def apply(self, parts: Sequence[Part]) -> int:
        """Fold events into the rows; raises as `JobRows.apply`."""
        self._rows.apply_to_rows([entry for part in parts for entry in part.held])
        if tail := [entry for part in parts for entry in part.tail]:
            self._rows.apply(tail)
        return 0

    def close(self) -> None:
        """Close the connection."""
        self._rows.close()


def repair(
    sources: Sources, writer: PartWriter, after: JobKey | None = None
) -> Iterator[ReplayStep]:
    """Apply all events, job by job after the given one; yield each batch once it is stored.

    Raises:
        redis.RedisError, psycopg.Error: a server is away; continue after the last step's job.
    """
    finished, pending, events, size = after, list[Part](), 0, 0
    for job, parts in groupby(sources.walk(after), itemgetter(0)):
        for part in parts:
            pending.append(part)
            events += part.length
            size += part.bytes
            if events >= BATCH_EVENTS or size >= READ_BYTES:
                yield _applied(writer, pending, finished)
                pending, events, size = [], 0, 0
        finished = job
    if pending:
        yield _applied(writer, pending, finished)


def _applied(writer: PartWriter, parts: Sequence[Part], finished: JobKey | None) -> ReplayStep:
    expired = writer.apply(parts)
    events = sum(part.length for part in parts)
    return ReplayStep(finished, events, len({part.job for part in parts}), expired)

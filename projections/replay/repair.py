"""Rebuilding: making a projection again from everything that was ever appended.

*Repairing* applies all events through the writers that consumers use. It brings back what is gone
and adds what is missing; what stands and looks newer than the events, it leaves: the writers are
guarded. *Resetting* (`reset`) puts what the events say over whatever stands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple, Protocol

from projections.replay.events.parts import Part
from projections.replay.events.portions import READ_BYTES
from projections.replay.events.sources import Sources
from projections.replay.served import StatusServed
from projections.replay.verify import fold_part
from projections.rows.writer import JobRows
from projections.status.writer import StatusCache
from sql.sessions import Session
from streams.keys import JobKey

BATCH = 4_000
"""Events applied at once, about; fewer where they are large."""


class Step(NamedTuple):
    """One batch that is done."""

    last: JobKey | None
    """The last job all of whose events are applied; the next run may go on after it."""
    events: int
    jobs: int
    expired: int = 0
    """Jobs among them whose documents would have expired by now, and were not brought back."""
    kept: int = 0
    """Replaced states that were kept."""
    changed: int | None = None
    """Rows that a reset changed; None for other steps."""


class Writer(Protocol):
    """Applies events to a projection, guarded."""

    def apply(self, parts: Sequence[Part]) -> int:
        """Apply them, and give how many jobs were rightly left expired."""
        ...


class StatusRepair:
    """Brings documents back, save those that would have expired by now."""

    def __init__(self, cache: StatusCache, served: StatusServed) -> None:
        self._cache = cache
        self._served = served

    def apply(self, parts: Sequence[Part]) -> int:
        """Fold into the documents; raises as `StatusCache.apply`."""
        living = [part for part in parts if not self._expired(part)]
        self._cache.apply([entry for part in living for entry in (*part.held, *part.tail)])
        return len(parts) - len(living)

    def _expired(self, part: Part) -> bool:
        newest = max(entry_id for entry_id, _ in part.events)
        if not part.complete or self._served.is_young(newest):
            return False
        folded = fold_part(part)
        return folded is not None and self._served.may_be_absent(folded.state, newest)


class RowsRepair:
    """Restores rows, and adds to the history the events that only the streams hold.

    Args:
        connect: opens a connection in autocommit mode; called when there is something to write.
    """

    def __init__(self, connect: Callable[[], Session]) -> None:
        self._rows = JobRows(connect)

    def apply(self, parts: Sequence[Part]) -> int:
        """Fold the events into the rows; raises as `JobRows.apply`."""
        self._rows.apply_to_rows([entry for part in parts for entry in part.held])
        if tail := [entry for part in parts for entry in part.tail]:
            self._rows.apply(tail)
        return 0

    def close(self) -> None:
        """Close the connection."""
        self._rows.close()


def repair(sources: Sources, writer: Writer, after: JobKey | None = None) -> Iterator[Step]:
    """Apply all events, job by job after the given one; give each batch once it is stored.

    Raises:
        redis.RedisError, psycopg.Error: a server is away; go on after the last step's job.
    """
    finished, pending, events, size = after, list[Part](), 0, 0
    for job, parts in groupby(sources.walk(after), itemgetter(0)):
        for part in parts:
            pending.append(part)
            events += part.length
            size += part.bytes
            if events >= BATCH or size >= READ_BYTES:
                yield _applied(writer, pending, finished)
                pending, events, size = [], 0, 0
        finished = job
    if pending:
        yield _applied(writer, pending, finished)


def _applied(writer: Writer, parts: Sequence[Part], finished: JobKey | None) -> Step:
    expired = writer.apply(parts)
    events = sum(part.length for part in parts)
    return Step(finished, events, len({part.job for part in parts}), expired)

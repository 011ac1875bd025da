"""Resetting: putting what the events say over whatever stands, a wrong newer state included.

Readers never miss anything meanwhile. Documents are replaced one job at a time by compare-and-set,
with what the events said *after* the document was read, so that nothing is put back. Rows are made
beside the table and put into it in one transaction, which readers see all at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

import psycopg
import redis

from projections.job_rows import job_row
from projections.rebuild import Step
from projections.sources import Sources, columns
from projections.status_cache import StatusCache
from projections.verify import Comparison, Folded, batched, fold_jobs, fold_part
from sql import queries
from streams.keys import JobKey

_QUERIES = queries("rebuild")
_COLUMNS = (
    "text text text int8 text text text jsonb text json json text text "
    "timestamptz timestamptz timestamptz timestamptz json int8"
).split()

FOLD_AT_ONCE = 500
"""Jobs."""
LOCK_SECONDS = 2.0
"""How long one try for the lock on the rows may take; writers wait meanwhile, readers do not."""
LOCK_TRIES = 30


class Busy(Exception):
    """Somebody held rows for too long: nothing was changed, run the reset again later."""


class StatusReset(StatusCache):
    """Overwrites documents; takes the settings that `StatusCache` takes."""

    def mend(self, comparison: Comparison, jobs: Collection[JobKey]) -> int:
        """Make these jobs' documents what their events say, and give how many were wrong."""
        mended, remaining = 0, list(jobs)
        while remaining:
            lost = []
            # Read before the events are: what a consumer writes later is a lost race.
            stored = self._load(remaining)
            names: list[str] = []
            arguments: list[bytes | int] = []
            written: list[JobKey] = []
            for look in comparison.again(remaining):
                job, folded = look.job, look.folded
                if not look.found:
                    continue
                if folded is None:
                    if not self._removed(job, stored[job].status):
                        lost.append(job)
                    continue
                written.append(job)
                names += (self._keys.status(job), self._keys.progress(job), self._keys.ended(job))
                arguments += self._arguments(job, stored[job], folded.state)
                mended += 1
            remaining = lost
            if written:
                positions = self._compare_and_set(keys=names, args=arguments)
                mended -= len(positions)
                remaining += [written[position - 1] for position in positions]
        return mended

    def _removed(self, job: JobKey, status: bytes) -> bool:
        """Remove a job's documents, if they still are what was read."""
        name = self._keys.status(job)
        with self._client.pipeline() as pipeline:
            try:
                pipeline.watch(name)  # type: ignore[no-untyped-call]
                if (pipeline.get(name) or b"") != status:
                    return False
                pipeline.multi()
                pipeline.delete(name, self._keys.progress(job), self._keys.ended(job))
                pipeline.execute()
            except redis.WatchError:
                return False
        return True


def reset_status(
    sources: Sources, writer: StatusReset, comparison: Comparison, after: JobKey | None = None
) -> Iterator[Step]:
    """Overwrite what differs, job by job after the given one; then remove what has no events.

    Raises:
        redis.RedisError, psycopg.Error: a server is away; go on after the last step's job.
    """
    for batch in batched(fold_jobs(sources.walk(after))):
        writer.mend(comparison, comparison.suspects(batch))
        yield Step(batch[-1].job, sum(each.events for each in batch), len(batch))
    for jobs in comparison.surplus():
        writer.mend(comparison, jobs)


class RowsReset:
    """Makes the rows that must change beside the table, and then changes them all at once.

    Args:
        lock_seconds: how long one try for the lock may take.
    """

    def __init__(
        self, sources: Sources, comparison: Comparison, *, lock_seconds: float = LOCK_SECONDS
    ) -> None:
        self._sources = sources
        self._connection = sources.connection
        self._comparison = comparison
        self._lock_ms = int(lock_seconds * 1000)

    def prepare(self) -> Iterator[Step]:
        """Fold everything and keep the rows that are served otherwise; nothing is changed yet.

        Raises:
            redis.RedisError, psycopg.Error: a server is away; begin again.
        """
        for batch in batched(fold_jobs(self._sources.walk())):
            wrong = set(self._comparison.suspects(batch))
            self._keep([folded for folded in batch if folded.job in wrong])
            yield Step(batch[-1].job, sum(each.events for each in batch), len(batch))
        for jobs in self._comparison.surplus():
            gone = [look.job for look in self._comparison.again(jobs) if look.found]
            self._connection.execute(_QUERIES["add_surplus"], columns(gone))
        self._freshen()
        self._connection.execute(_QUERIES["analyze_mended"])

    def swap(self, on_wait: Callable[[], None] = lambda: None) -> int:
        """Put the prepared rows in place, and give how many were written or removed.

        Raises:
            Busy: the lock was not to be had.
        """
        for _ in range(LOCK_TRIES):
            try:
                with self._connection.transaction():
                    return self._swap()
            except psycopg.errors.LockNotAvailable:
                on_wait()
        raise Busy("the table jobs was in use all the time; nothing was changed, try again later")

    def _swap(self) -> int:
        self._connection.execute(_QUERIES["patience"], {"milliseconds": self._lock_ms})
        self._connection.execute(_QUERIES["lock_rows"])
        # From here on no consumer writes: what it wrote since is in the history, and folded now.
        self._freshen()
        changed = self._connection.execute(_QUERIES["swap_changed"]).rowcount
        changed += self._connection.execute(_QUERIES["swap_missing"]).rowcount
        return changed + self._connection.execute(_QUERIES["swap_surplus"]).rowcount

    def _freshen(self) -> None:
        """Fold those again about which the history has grown meanwhile."""
        stale = [
            JobKey(*row) for row in self._connection.execute(_QUERIES["stale_mended"]).fetchall()
        ]
        for at in range(0, len(stale), FOLD_AT_ONCE):
            jobs = stale[at : at + FOLD_AT_ONCE]
            parts = self._sources.events_of(jobs).values()
            self._connection.execute(_QUERIES["forget_mended"], columns(jobs))
            self._keep([folded for part in parts if (folded := fold_part(part))])

    def _keep(self, wrong: Sequence[Folded]) -> None:
        if not wrong:
            return
        with self._connection.cursor() as cursor, cursor.copy(_QUERIES["copy_mended"]) as copy:
            copy.set_types(_COLUMNS)
            for folded in wrong:
                copy.write_row((*job_row(folded.job, folded.state), folded.held))

"""Resetting: putting what the events say over whatever stands, a wrong newer state included.

Readers never miss anything meanwhile. Documents are replaced one job at a time by compare-and-set,
with what the events said *after* the document was read, so that nothing is put back. Rows are made
beside the table and put into it in one transaction, which readers see all at once. What is replaced
is kept (`replaced_states`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import redis

from projections.replay.events.sources import Sources
from projections.replay.job_arrays import job_arrays
from projections.replay.repair import Step
from projections.replay.replaced_states import (
    LOCK_SECONDS,
    KeptDocuments,
    Replaced,
    new_run,
    when_free,
)
from projections.replay.verify import Comparison, Folded, batched, fold_jobs, fold_part
from projections.rows.columns import JOB_LISTS, TYPES, copied_values
from projections.status.document_writes import DocumentWrites, removal
from projections.status.store import StatusStore, Stored, Write
from sql import queries
from streams.keys import JobKey, Keys

_QUERIES = queries("rebuild", JOB_LISTS)


class StatusReset:
    """Overwrites documents.

    Args:
        kept: keeps what is replaced.
        writes: builds the writes, under the settings of the projection.
    """

    def __init__(
        self,
        client: redis.Redis,
        kept: KeptDocuments,
        writes: DocumentWrites,
        keys: Keys | None = None,
    ) -> None:
        # Tombstones from a time when ended documents had a time to live are removed too.
        self._store = StatusStore(client, keys or Keys(), marked=True)
        self._writes = writes
        self._kept = kept

    def mend(self, comparison: Comparison, jobs: Collection[JobKey]) -> int:
        """Make these jobs' documents what their events say, and give how many were wrong."""
        mended, remaining = 0, list(jobs)
        while remaining:
            # Read before the events are: what a consumer writes later is a lost race.
            stored = self._store.load(remaining)
            looks = comparison.again(remaining)
            wrong = {look.job: look.folded for look in looks if look.found}
            remaining = self._overwrite(wrong, stored) if wrong else []
            mended += len(wrong) - len(remaining)
        return mended

    def _overwrite(
        self, wrong: Mapping[JobKey, Folded | None], stored: Mapping[JobKey, Stored]
    ) -> list[JobKey]:
        """Keep what stands and write what is right, or nothing; give those that were too late."""
        self._kept.keep(
            {
                job: Replaced(stored[job].status, stored[job].progress, removed=folded is None)
                for job, folded in wrong.items()
            }
        )
        lost = self._store.write(
            self._write(job, stored[job], folded) for job, folded in wrong.items()
        ).lost()
        self._kept.forget(lost)
        return lost

    def _write(self, job: JobKey, found: Stored, folded: Folded | None) -> Write:
        if folded is None:
            return removal(job, found)
        documents = self._writes.documents(job, folded.state)
        return self._writes.replacement(job, found, folded.state, documents)


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
        self._lock_seconds = lock_seconds

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
            self._connection.execute(_QUERIES["add_surplus"], job_arrays(gone))
        self._freshen()
        self._connection.execute(_QUERIES["analyze_mended"])

    def swap(self, on_wait: Callable[[], None] = lambda: None) -> int:
        """Put the prepared rows in place, and give how many were written or removed.

        What they replace is kept in the same transaction.

        Raises:
            Busy: the lock was not to be had.
        """
        changed = when_free(self._connection, self._swap, self._lock_seconds, on_wait)
        self._sources.commit()
        return changed

    def _swap(self) -> int:
        # From here on no consumer writes: what it wrote since is in the history, and folded now.
        self._freshen()
        number, at = new_run(self._connection)
        run = {"run": number, "at": at}
        return sum(
            self._connection.execute(_QUERIES[name], run).rowcount
            for name in ("swap_changed", "swap_missing", "swap_surplus")
        )

    def _freshen(self) -> None:
        """Fold those again about which the history has grown meanwhile."""
        stale = [
            JobKey(*row) for row in self._connection.execute(_QUERIES["stale_mended"]).fetchall()
        ]
        for jobs in self._sources.portions(stale):
            parts = self._sources.events_of(jobs).values()
            self._connection.execute(_QUERIES["forget_mended"], job_arrays(jobs))
            self._keep([folded for part in parts if (folded := fold_part(part))])

    def _keep(self, wrong: Sequence[Folded]) -> None:
        if not wrong:
            return
        with self._connection.cursor() as cursor, cursor.copy(_QUERIES["copy_mended"]) as copy:
            copy.set_types([*TYPES, "int8"])
            for folded in wrong:
                copy.write_row((*copied_values(folded.job, folded.state), folded.held))

"""Reset of rows: right rows are prepared in a temporary table, and then replace the wrong ones.

They are replaced in one transaction. Used by `projections.registry.rows`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from projections.replay.comparison import Comparison
from projections.replay.events.sources import Sources
from projections.replay.folded_jobs import Folded, batched, fold_jobs, fold_part
from projections.replay.job_arrays import job_arrays
from projections.replay.replaced_states import new_run
from projections.replay.row_lock import LOCK_SECONDS, with_locked_rows
from projections.replay.step import ReplayStep
from projections.rows.columns import JOB_LISTS, TYPES, copied_values
from sql import queries
from streams.keys import JobKey

_QUERIES = queries("rebuild", JOB_LISTS)


class RowsReset:
    """Reset of the rows of the tenants that the sources read.

    Prepare once; after Busy, `swap` may be called again.

    Args:
        sources: the events; the reset writes on their connection.
        comparison: compares the rows with the events.
        lock_seconds: the time limit for one try to lock the rows.
    """

    def __init__(
        self, sources: Sources, comparison: Comparison, *, lock_seconds: float = LOCK_SECONDS
    ) -> None:
        self._sources = sources
        self._connection = sources.connection
        self._comparison = comparison
        self._lock_seconds = lock_seconds

    def prepare(self) -> Iterator[ReplayStep]:
        """Fold all events, and store in temporary tables the rows to write and to remove.

        The table `jobs` is not changed.

        Raises:
            redis.RedisError, psycopg.Error: a server is away; begin again.
        """
        for batch in batched(fold_jobs(self._sources.walk())):
            wrong = set(self._comparison.differing(batch))
            self._store([folded for folded in batch if folded.job in wrong])
            yield ReplayStep(batch[-1].job, sum(each.events for each in batch), len(batch))
        # Rows of jobs without any event; an event that has arrived since makes them wrong rows.
        for jobs in self._comparison.surplus():
            differing = [each for each in self._comparison.recheck(jobs) if each.found]
            self._store([each.folded for each in differing if each.folded])
            surplus = [each.job for each in differing if each.folded is None]
            self._connection.execute(_QUERIES["add_surplus"], job_arrays(surplus))
        # So that little is left to fold under the lock.
        self._fold_changed_jobs()
        self._connection.execute(_QUERIES["analyze_corrected"])

    def swap(self, on_wait: Callable[[], None] = lambda: None) -> int:
        """Replace the rows by those prepared; return the number of rows written or removed.

        The replaced rows are kept in the same transaction. `on_wait` is called after each try to
        lock the rows that failed.

        Raises:
            Busy: other sessions held the rows; nothing was changed.
            psycopg.Error: the database is away; nothing was changed.
        """
        changed = with_locked_rows(self._connection, self._swap, self._lock_seconds, on_wait)
        self._sources.commit()
        return changed

    def _swap(self) -> int:
        # Consumers wait now; what they wrote since `prepare` is in the history, and folded here.
        self._fold_changed_jobs()
        number, at = new_run(self._connection)
        run = {"run": number, "at": at}
        return sum(
            self._connection.execute(_QUERIES[name], run).rowcount
            for name in ("swap_changed", "swap_missing", "swap_surplus")
        )

    def _fold_changed_jobs(self) -> None:
        """Fold those of the prepared jobs again whose history has grown since then.

        A job without events may have its first one, which was folded into its wrong row.
        """
        changed = self._connection.execute(_QUERIES["stale_corrected"]).fetchall()
        for jobs in self._sources.portions([JobKey(*row) for row in changed]):
            parts = self._sources.events_of(jobs).values()
            self._connection.execute(_QUERIES["forget_corrected"], job_arrays(jobs))
            self._store([folded for part in parts if (folded := fold_part(part))])

    def _store(self, corrected: Sequence[Folded]) -> None:
        """Store prepared rows in the temporary table."""
        if not corrected:
            return
        with self._connection.cursor() as cursor, cursor.copy(_QUERIES["copy_corrected"]) as copy:
            copy.set_types([*TYPES, "int8"])
            for folded in corrected:
                copy.write_row((*copied_values(folded.job, folded.state), folded.appends_counted))

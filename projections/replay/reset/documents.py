"""Reset of documents: each one that differs is replaced by compare-and-set.

The documents are read before the events, so that a state is never replaced by an older one: a write
fails if a consumer has written in between, and the job is compared again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import redis

from projections.replay.comparison import Comparison
from projections.replay.events.sources import Sources
from projections.replay.folded_jobs import Folded, batched, fold_jobs
from projections.replay.reset.kept_documents import KeptDocuments, ReplacedDocuments
from projections.replay.step import ReplayStep
from projections.status.document_writes import DocumentWrites, removal
from projections.status.store import StatusStore, Stored, Write
from streams.cluster import keys_of
from streams.keys import JobKey, Keys


class StatusReset:
    """Writer that overwrites documents.

    Args:
        client: a connection pool without decoding.
        kept: keeps what is replaced.
        writes: builds the writes, under the settings of the projection.
        keys: the names of keys.
    """

    def __init__(
        self,
        client: redis.Redis,
        kept: KeptDocuments,
        writes: DocumentWrites,
        keys: Keys | None = None,
    ) -> None:
        # Tombstones from a time when ended documents had a time to live are removed too.
        self._store = StatusStore(client, keys or keys_of(client), tombstones=True)
        self._writes = writes
        self._kept = kept

    def correct(self, comparison: Comparison, jobs: Collection[JobKey]) -> int:
        """Replace the documents that differ from the events; return the number of their jobs.

        Raises:
            redis.RedisError, psycopg.Error: a server is away; some may have been replaced.
        """
        corrected, remaining = 0, list(jobs)
        while remaining:
            stored = self._store.load(remaining)
            rechecks = comparison.recheck(remaining)
            wrong = {each.job: each.folded for each in rechecks if each.found}
            remaining = self._overwrite(wrong, stored) if wrong else []
            corrected += len(wrong) - len(remaining)
        return corrected

    def _overwrite(
        self, wrong: Mapping[JobKey, Folded | None], stored: Mapping[JobKey, Stored]
    ) -> list[JobKey]:
        """Keep and replace documents; return the jobs that another writer has written since."""
        self._kept.keep(
            {
                job: ReplacedDocuments(
                    stored[job].status, stored[job].progress, removed=folded is None
                )
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


def reset_documents(
    sources: Sources, writer: StatusReset, comparison: Comparison, after: JobKey | None = None
) -> Iterator[ReplayStep]:
    """Replace what differs, job by job after the given one; then remove what has no events.

    Raises:
        redis.RedisError, psycopg.Error: a server is away; continue after the last step's job.
    """
    for batch in batched(fold_jobs(sources.walk(after))):
        writer.correct(comparison, comparison.differing(batch))
        yield ReplayStep(batch[-1].job, sum(each.events for each in batch), len(batch))
    for jobs in comparison.surplus():
        writer.correct(comparison, jobs)

"""Reset of documents: each one that differs is replaced by compare-and-set.

The documents are read before the events, and written only if they are unchanged. So a newer state
is never replaced by an older one; a job that a consumer has written meanwhile is compared again.
Used by `projections.registry.status`.
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

ROUNDS = 100
"""The largest number of times that a job is compared and written, if consumers write it first."""


class StatusReset:
    """Reset of documents: corrects those of some jobs.

    Args:
        client: a Redis client that does not decode replies.
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
        self._keys = keys or keys_of(client)
        # Tombstones are removed with the documents, also where the present settings write none.
        self._store = StatusStore(client, self._keys, tombstones=True)
        self._writes = writes
        self._kept = kept

    def correct(self, comparison: Comparison, jobs: Collection[JobKey]) -> None:
        """Replace the documents that differ from the events.

        Raises:
            redis.RedisError: Redis is away, or consumers always wrote first; some documents may
                have been replaced.
            psycopg.Error: PostgreSQL is away; likewise.
        """
        remaining = list(jobs)
        for _ in range(ROUNDS):
            if not remaining:
                return
            stored = self._store.load(remaining)
            rechecks = comparison.recheck(remaining)
            differing = {each.job: each.folded for each in rechecks if each.found}
            remaining = self._replace(differing, stored) if differing else []
        if remaining:
            raise redis.RedisError(
                f"documents of {len(remaining)} jobs, such as {self._keys.status(remaining[0])}, "
                f"differ from the events and were not replaced: consumers wrote them first, "
                f"{ROUNDS} times"
            )

    def _replace(
        self, differing: Mapping[JobKey, Folded | None], stored: Mapping[JobKey, Stored]
    ) -> list[JobKey]:
        """Keep and replace documents; return the jobs that another writer has written since."""
        self._kept.keep(
            {
                job: ReplacedDocuments(
                    stored[job].status, stored[job].progress, removed=folded is None
                )
                for job, folded in differing.items()
            }
        )
        lost = self._store.write(
            self._build_write(job, stored[job], folded) for job, folded in differing.items()
        ).lost()
        self._kept.forget(lost)
        return lost

    def _build_write(self, job: JobKey, found: Stored, folded: Folded | None) -> Write:
        if folded is None:
            return removal(job, found)
        documents = self._writes.documents(job, folded.state)
        return self._writes.replacement(job, found, folded.state, documents)


def reset_documents(
    sources: Sources, reset: StatusReset, comparison: Comparison, after: JobKey | None = None
) -> Iterator[ReplayStep]:
    """Correct the documents of jobs with events, then remove documents of jobs without events.

    It begins after the job `after`, in the order of keys, and yields a step for each batch of jobs.

    Raises:
        redis.RedisError, psycopg.Error: `correct` failed; continue after the last step's job.
    """
    for batch in batched(fold_jobs(sources.walk(after))):
        reset.correct(comparison, comparison.differing(batch))
        yield ReplayStep(batch[-1].job, sum(each.events for each in batch), len(batch))
    for jobs in comparison.surplus():
        reset.correct(comparison, jobs)

"""The writer of the projection `status`: folds entries into documents and feeds in Redis.

Jobs are read by one MGET and written by one script that compares and sets, in chunks. A writer
whose job was written by another one meanwhile reads and folds it again, so that consumers and
replays agree in any order. The same script adds each change to the tenant's feed, so that no reader
sees one without the other. Used by `projections.registry.status` and `projections.replay.repair`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

import redis
import structlog

from projections.batch import EventsByJob, by_job
from projections.decoding import Entry
from projections.documents import Documents, read_documents
from projections.fold import fold_all
from projections.state import JobState
from projections.status.document_writes import DocumentWrites, is_outlived
from projections.status.recent_states import RecentStates
from projections.status.store import Failed, StatusStore, Stored, Write
from streams.cluster import PartlyStored, keys_of
from streams.keys import ClusterKeys, JobKey, Keys
from streams.kinds import KINDS

_LOG = structlog.get_logger(__name__)

CHUNK = 125
"""Jobs in one call of the script, which occupies the server for about a millisecond."""
ROUNDS = 100
"""The largest number of times that a batch is read and written; jobs that lost a race remain each
time. With four consumers on the same hundred jobs, half of the writes lose (0036)."""


class StatusCache:
    """Writer of the status and progress documents.

    Args:
        ttl_seconds: the time to live of the documents of a job that has not ended.
        ended_ttl_seconds: the same for an ended job; None keeps its documents.
        result_cache_bytes: results of this size in bytes, or larger, are left out.
    """

    group = "status"

    def __init__(
        self,
        client: redis.Redis,
        *,
        keys: Keys | None = None,
        ttl_seconds: int = 21_600,
        ended_ttl_seconds: int | None = None,
        result_cache_bytes: int = 10_000,
    ) -> None:
        self._writes = DocumentWrites(
            ttl_seconds=ttl_seconds,
            ended_ttl_seconds=ended_ttl_seconds,
            result_cache_bytes=result_cache_bytes,
        )
        self._keys = keys or keys_of(client)
        self._store = StatusStore(client, self._keys, tombstones=ended_ttl_seconds is not None)
        self._recent = RecentStates()

    def apply(self, entries: Sequence[Entry]) -> None:
        """Fold the entries into the documents; applying them again changes nothing.

        Raises:
            PartlyStored: a node of the cluster fails, and what concerns the others is stored.
            redis.RedisError: some documents may have been written; apply the entries again.
        """
        jobs = by_job(entries)
        failed: Failed | None = {} if isinstance(self._keys, ClusterKeys) else None
        for _ in range(ROUNDS):
            if not jobs:
                break
            lost = self._write_once(jobs, failed)
            jobs = {job: jobs[job] for job in lost}
        if jobs:
            key = self._keys.status(next(iter(jobs)))
            raise redis.RedisError(
                f"documents of {len(jobs)} jobs, such as {key}, were not what had just been read,"
                f" {ROUNDS} times: another writer is always first"
            )
        if failed:
            raise PartlyStored(failed)

    def _write_once(self, jobs: EventsByJob, failed: Failed | None) -> list[JobKey]:
        """Fold and write each job once, and return those that another writer wrote meanwhile.

        Those of a cluster's node that fails are left out, and their tenants are in `failed`.

        While a chunk is folded, the server writes the one before it and reads the one after it.
        Chunks have no job in common. A write is sent only after the reply to the previous one, so
        that at most two connections are in use, and few chunks of documents are in memory.
        """
        lost: list[JobKey] = []
        chunks = _chunks(jobs)
        reading, writing = self._store.read(chunks[0]), None
        try:
            for chunk, following in zip(chunks, [*chunks[1:], None], strict=True):
                stored = reading.stored(failed)
                if following:
                    reading = self._store.read(following)
                writes = list(self._folded(chunk, stored))
                if writing:
                    lost += writing.lost(failed)
                writing = self._store.write(writes) if writes else None
            if writing:
                lost += writing.lost(failed)
        finally:
            # Those before them were read to the end, and must not be kept: each has the documents
            # of its chunk.
            reading.give_up()
            if writing:
                writing.give_up()
        return lost

    def _folded(self, jobs: EventsByJob, stored: Mapping[JobKey, Stored]) -> Iterator[Write]:
        for job, events in jobs.items():
            found = stored.get(job)
            if found is None:
                continue
            old = self._known(job, found)
            state = fold_all(old, events)
            if state is None or (not found.status and is_outlived(state, found.tombstone)):
                continue
            yield self._write(job, found, state, old)

    def _write(self, job: JobKey, found: Stored, state: JobState, old: JobState | None) -> Write:
        documents = self._writes.documents(job, state)
        if not state.state.ended:  # the document of an ended job may lack parts of the result
            self._recent.remember(job, documents, state)
        return self._writes.replacement(job, found, state, documents, old)

    def _known(self, job: JobKey, found: Stored) -> JobState | None:
        """Return the state of the documents that were found; None if there is none."""
        if not found.status:
            return None
        documents = Documents(found.status, found.progress or None)
        return self._recent.take(job, documents) or _read(job, documents, self._keys)


def _chunks(jobs: EventsByJob) -> list[EventsByJob]:
    remaining = iter(jobs.items())
    return list(iter(lambda: dict(islice(remaining, CHUNK)), {}))


def _read(job: JobKey, documents: Documents, keys: Keys) -> JobState | None:
    # Then without the progress: a foreign progress document must not discard a valid status.
    for progress in (documents.progress, None):
        try:
            return read_documents(KINDS[job.kind], Documents(documents.status, progress))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            # A key of another program, or one changed by hand: the events decide.
            _LOG.info("foreign_document_replaced", key=keys.status(job), error=repr(error))
    return None

"""The projection `status`: two Redis documents a job, and each tenant's feed of what changed.

Jobs are read and written some at a time: one MGET, and one script that compares and sets. Whoever
loses a race reads and folds again, so that two consumers, a stale one and a replay agree whatever
their order. In the same script every changed document is told to the tenant's feed: no reader sees
one without the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
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
from projections.status.store import StatusStore, Stored, Write
from streams.keys import JobKey, Keys
from streams.kinds import KINDS

_LOG = structlog.get_logger(__name__)

CHUNK = 125
"""Jobs in one script call: the server is held for about a millisecond."""


class StatusCache:
    """Writes the status and progress documents.

    Args:
        ttl_seconds: how long an unended job's documents live after its last event.
        ended_ttl_seconds: the same for an ended job; None keeps them.
        result_cache_bytes: results of so many bytes, or more, are left out.
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
        self._store = StatusStore(client, keys or Keys(), marked=ended_ttl_seconds is not None)
        self._recent = RecentStates()

    def apply(self, entries: Sequence[Entry]) -> None:
        """Fold the entries into the documents; applying them again changes nothing.

        Raises:
            redis.RedisError: some documents may have been written; apply the entries again.
        """
        jobs = by_job(entries)
        while jobs:
            lost = self._write_once(jobs)
            jobs = {job: jobs[job] for job in lost}

    def _write_once(self, jobs: EventsByJob) -> list[JobKey]:
        """Fold and write each job once, and return those that somebody else wrote meanwhile.

        While a chunk is folded, the server writes the one before it and reads the one after it.
        Chunks have no job in common. A write is sent only after the reply to the previous one, so
        that at most two connections are in use.
        """
        lost: list[JobKey] = []
        chunks = _chunks(jobs)
        with ExitStack() as unread:
            reading, writing = self._store.ask(chunks[0]), None
            unread.callback(reading.give_up)
            for chunk, following in zip(chunks, [*chunks[1:], None], strict=True):
                stored = reading.stored()
                if following:
                    reading = self._store.ask(following)
                    unread.callback(reading.give_up)
                writes = list(self._folded(chunk, stored))
                if writing:
                    lost += writing.lost()
                writing = self._store.write(writes) if writes else None
                if writing:
                    unread.callback(writing.give_up)
            if writing:
                lost += writing.lost()
        return lost

    def _folded(self, jobs: EventsByJob, stored: Mapping[JobKey, Stored]) -> Iterator[Write]:
        for job, events in jobs.items():
            found = stored[job]
            old = self._known(job, found)
            state = fold_all(old, events)
            if state is None or (not found.status and is_outlived(state, found.mark)):
                continue
            yield self._write(job, found, state, old)

    def _write(self, job: JobKey, found: Stored, state: JobState, old: JobState | None) -> Write:
        documents = self._writes.documents(job, state)
        if not state.state.ended:  # of an ended job the document may lack parts of the result
            self._recent.remember(job, documents, state)
        return self._writes.replacement(job, found, state, documents, old)

    def _known(self, job: JobKey, found: Stored) -> JobState | None:
        """Return the state that the documents say."""
        if not found.status:
            return None
        documents = Documents(found.status, found.progress or None)
        return self._recent.take(job, documents) or _read(job, documents)


def _chunks(jobs: EventsByJob) -> list[EventsByJob]:
    remaining = iter(jobs.items())
    return list(iter(lambda: dict(islice(remaining, CHUNK)), {}))


def _read(job: JobKey, documents: Documents) -> JobState | None:
    # Without the progress next: a foreign one there must not lift the guard of the status.
    for progress in (documents.progress, None):
        try:
            return read_documents(KINDS[job.kind], Documents(documents.status, progress))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            # A key of the old writers, or one mended by hand: the events say what is right.
            _LOG.info("foreign_document_replaced", key=Keys().status(job), error=repr(error))
    return None

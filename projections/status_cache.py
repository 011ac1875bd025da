"""The projection `status`: two Redis documents a job, and each tenant's feed of what changed.

A batch is one MGET and one script that compares and sets. Whoever loses a race reads and folds
again, so that two consumers, a stale one and a replay agree whatever their order. In the same
script every changed document is told to the tenant's feed: no reader sees one without the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from itertools import islice
from typing import NamedTuple, cast

import redis
import structlog

from projections.batch import EventsByJob, by_job
from projections.decoding import Entry
from projections.documents import Documents, read_documents, write_documents
from projections.feed import feed_name
from projections.fold import RANKS, fold_all
from projections.state import JobState
from streams.keys import JobKey, Keys
from streams.kinds import KINDS, State

_LOG = structlog.get_logger(__name__)

CHUNK = 250
"""Jobs in one script call: the server is held for about a millisecond."""

_UNMARKED = b"*"
_REMOVE = b"-"


class _Stored(NamedTuple):
    """What Redis held of a job when it was read."""

    status: bytes
    progress: bytes
    mark: bytes


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
        self._client = client
        self._keys = keys or Keys()
        self._ttl = ttl_seconds
        self._ended_ttl = ended_ttl_seconds
        self._result_cache_bytes = result_cache_bytes
        script = files("projections").joinpath("status_cache.lua").read_text()
        self._compare_and_set = client.register_script(script)

    def apply(self, entries: Sequence[Entry]) -> None:
        """Fold the entries into the documents; applying them again changes nothing.

        Raises:
            redis.RedisError: some documents may have been written; apply the entries again.
        """
        remaining = iter(by_job(entries).items())
        while chunk := dict(islice(remaining, CHUNK)):
            contested: EventsByJob = chunk
            while contested:
                contested = self._write(contested)

    def _write(self, jobs: EventsByJob) -> EventsByJob:
        """Fold and write once; give the jobs that somebody else wrote meanwhile."""
        stored = self._load(list(jobs))
        names: list[str] = []
        arguments: list[bytes | int | str] = []
        written: list[JobKey] = []
        for job, events in jobs.items():
            found = stored[job]
            old = _state(job, found)
            state = fold_all(old, events)
            if state is None or (not found.status and _outlived(state, found.mark)):
                continue
            written.append(job)
            names += self._names(job)
            arguments += self._arguments(job, found, state, old)
        if not written:
            return {}
        lost = self._compare_and_set(keys=names, args=arguments)
        return {written[position - 1]: jobs[written[position - 1]] for position in lost}

    def _load(self, jobs: Sequence[JobKey]) -> Mapping[JobKey, _Stored]:
        marked = self._ended_ttl is not None
        names: list[str] = []
        for job in jobs:
            names += (self._keys.status(job), self._keys.progress(job))
            if marked:
                names.append(self._keys.ended(job))
        values = iter(cast("list[bytes | None]", self._client.mget(names)))
        return {
            job: _Stored(
                next(values) or b"",
                next(values) or b"",
                (next(values) or b"") if marked else _UNMARKED,
            )
            for job in jobs
        }

    def _names(self, job: JobKey) -> tuple[str, str, str, str]:
        """Name the keys that the script takes for a job."""
        keys = self._keys
        return keys.status(job), keys.progress(job), keys.ended(job), keys.feed(job.tenant)

    def _arguments(
        self, job: JobKey, found: _Stored, state: JobState, old: JobState | None = None
    ) -> tuple[bytes, bytes, bytes, bytes, int, bytes, str]:
        documents = write_documents(KINDS[job.kind], state, self._result_cache_bytes)
        ended = state.state.ended
        seconds = (self._ended_ttl or 0) if ended else self._ttl
        return (
            found.status,
            found.mark,
            b"" if documents.status == found.status else documents.status,
            _changed(found.progress, documents.progress),
            seconds,
            _mark(state) if ended and self._ended_ttl is not None else b"",
            feed_name(job) if old is None or _shown(old) != _shown(state) else "",
        )


def _changed(old: bytes, new: bytes | None) -> bytes:
    if new is None:
        return _REMOVE if old else b""
    return b"" if new == old else new


def _state(job: JobKey, found: _Stored) -> JobState | None:
    if not found.status:
        return None
    # Without the progress next: a foreign one there must not lift the guard of the status.
    for progress in (found.progress or None, None):
        try:
            return read_documents(KINDS[job.kind], Documents(found.status, progress))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            # A key of the old writers, or one mended by hand: the events say what is right.
            _LOG.info("foreign_document_replaced", key=Keys().status(job), error=repr(error))
    return None


def _shown(state: JobState) -> tuple[object, ...]:
    """Give what answers show; a late event may add to the documents and change nothing of it."""
    job_type = state.job_type and state.job_type.value
    return (
        state.state,
        state.attempt,
        state.updated_at,
        job_type,
        state.progress if state.state is State.PROCESSING else None,
        state.error,
        state.result,
    )


def _mark(state: JobState) -> bytes:
    return b"%d %d" % (state.attempt, RANKS[state.state])


def _outlived(state: JobState, mark: bytes) -> bool:
    """Whether an ended job's documents expired, and this older state must not bring it back."""
    if mark in (b"", _UNMARKED):
        return False
    attempt, rank = map(int, mark.split())
    return (state.attempt, RANKS[state.state]) <= (attempt, rank)

"""Building the writes that replace the stored documents of a job by those of a state.

They are sent through a `StatusStore`, which carries each one out only if the documents are still
what was read. Used by `projections.registry.status`, `projections.replay.reset.documents` and
`projections.status.writer`.
"""

from __future__ import annotations

from projections.documents import Documents, write_documents
from projections.fold import RANKS
from projections.state import JobState
from projections.status.store import NOT_READ, REMOVE, Stored, Write
from streams.keys import JobKey
from streams.kinds import KINDS, State

_new = tuple.__new__  # builds a named tuple without the cost of its own constructor


class DocumentWrites:
    """Writes for states, under the settings of one projection.

    Args:
        ttl_seconds: the time to live of the documents of a job that has not ended.
        ended_ttl_seconds: the same for an ended job; None keeps its documents.
        result_cache_bytes: results of this size in bytes, or larger, are left out.
    """

    def __init__(
        self, *, ttl_seconds: int, ended_ttl_seconds: int | None, result_cache_bytes: int
    ) -> None:
        self._ttl = ttl_seconds
        self._ended_ttl = ended_ttl_seconds
        self._result_cache_bytes = result_cache_bytes

    def documents(self, job: JobKey, state: JobState) -> Documents:
        """Return the documents of a state."""
        return write_documents(KINDS[job.kind], state, self._result_cache_bytes)

    def replacement(
        self,
        job: JobKey,
        found: Stored,
        state: JobState,
        documents: Documents,
        old: JobState | None = None,
    ) -> Write:
        """Return the write that puts the documents of a state in place of those found.

        `old` is the state of the documents found; where it is None, the tenant's feed reports the
        write as a change.
        """
        ended = state.state.ended
        return _new(
            Write,
            (
                job,
                found,
                b"" if documents.status == found.status else documents.status,
                _changed(found.progress, documents.progress),
                (self._ended_ttl or 0) if ended else self._ttl,
                _tombstone(state) if ended and self._ended_ttl is not None else b"",
                old is None or _shows_change(old, state),
            ),
        )


def removal(job: JobKey, found: Stored) -> Write:
    """Return the write that removes all keys of a job, whatever its tombstone is."""
    return Write(job, found._replace(tombstone=NOT_READ), REMOVE, b"", 0)


def is_outlived(state: JobState, tombstone: bytes) -> bool:
    """Return True if a tombstone forbids writing this state.

    The job's documents have expired, and the state is not newer than the one that they had.
    """
    if tombstone in (b"", NOT_READ):
        return False
    attempt, rank = map(int, tombstone.split())
    return (state.attempt, RANKS[state.state]) <= (attempt, rank)


def _changed(old: bytes, new: bytes | None) -> bytes:
    if new is None:
        return REMOVE if old else b""
    return b"" if new == old else new


def _shows_change(old: JobState, new: JobState) -> bool:
    """Return True if answers change; a late event may change only the documents."""
    return (
        old.updated_at != new.updated_at
        or old.state != new.state
        or old.attempt != new.attempt
        or (old.job_type and old.job_type.value) != (new.job_type and new.job_type.value)
        or (new.state is State.PROCESSING and old.progress != new.progress)
        or old.error != new.error
        or old.result != new.result
    )


def _tombstone(state: JobState) -> bytes:
    return b"%d %d" % (state.attempt, RANKS[state.state])

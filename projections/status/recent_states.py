"""States by the documents that were made from them, so that the next batch need not parse these.

A state is kept before its documents are stored. If that fails, the next batch reads other documents
from Redis, and the state is ignored. Used by `projections.status.writer`.
"""

from __future__ import annotations

from collections import OrderedDict

from projections.documents import Documents
from projections.state import JobState
from streams.keys import JobKey

MOST = 10_000
"""The largest number of states that are kept."""
MOST_BYTES = 4 * 1024 * 1024
"""The largest size of their documents, in bytes; states need several times as much memory."""


class RecentStates:
    """The states of the documents that were last made for each job; the oldest are dropped.

    A state is returned only for exactly the documents that were made from it. If another writer has
    written since, or documents were lost or never stored, the stored documents are used.

    Args:
        most: the largest number of states.
        most_bytes: the largest size of their documents.
    """

    def __init__(self, most: int = MOST, most_bytes: int = MOST_BYTES) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._states: OrderedDict[JobKey, tuple[Documents, JobState]] = OrderedDict()
        self.bytes = 0
        """The size of the documents of the kept states."""

    def __len__(self) -> int:
        return len(self._states)

    def take(self, job: JobKey, documents: Documents) -> JobState | None:
        """Remove the job's state; return it if these documents were made from it, or None."""
        known = self._states.pop(job, None)
        if known is None:
            return None
        self.bytes -= _size(known[0])
        return known[1] if known[0] == documents else None

    def remember(self, job: JobKey, documents: Documents, state: JobState) -> None:
        """Keep the state that these documents were made from."""
        self.take(job, documents)
        self._states[job] = documents, state
        self.bytes += _size(documents)
        while len(self._states) > self._most or self.bytes > self._most_bytes:
            _, (oldest, _) = self._states.popitem(last=False)
            self.bytes -= _size(oldest)


def _size(documents: Documents) -> int:
    return len(documents.status) + len(documents.progress or b"")

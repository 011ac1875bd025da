"""States that were just written, so that the next batch need not read them out of documents."""

from __future__ import annotations

from collections import OrderedDict

from projections.documents import Documents
from projections.state import JobState
from streams.keys import JobKey

MOST = 10_000
"""States that are remembered."""
MOST_BYTES = 4 * 1024 * 1024
"""Bytes of the documents of which they are remembered; states take a few times as much."""


class RecentStates:
    """Remembers the state behind the documents last written of a job; forgets the oldest first.

    The documents of an unended job determine everything that is written next. So a state is
    returned only for exactly the documents that were written from it: whoever else wrote since, or
    whatever was lost, what is stored stands.
    """

    def __init__(self, most: int = MOST, most_bytes: int = MOST_BYTES) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._states: OrderedDict[JobKey, tuple[Documents, JobState]] = OrderedDict()
        self.bytes = 0
        """Of the documents that are remembered."""

    def __len__(self) -> int:
        return len(self._states)

    def take(self, job: JobKey, documents: Documents) -> JobState | None:
        """Return the state that was written as these documents, and forget it."""
        known = self._states.pop(job, None)
        if known is None:
            return None
        self.bytes -= _size(known[0])
        return known[1] if known[0] == documents else None

    def remember(self, job: JobKey, documents: Documents, state: JobState) -> None:
        """Remember what a state was written as."""
        self.take(job, documents)
        self._states[job] = documents, state
        self.bytes += _size(documents)
        while len(self._states) > self._most or self.bytes > self._most_bytes:
            _, (oldest, _) = self._states.popitem(last=False)
            self.bytes -= _size(oldest)


def _size(documents: Documents) -> int:
    return len(documents.status) + len(documents.progress or b"")

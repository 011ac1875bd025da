"""Jobs folded from all their events.

Used by `projections.replay.comparison`, `projections.replay.repair`,
`projections.replay.reset.documents`, `projections.replay.reset.rows` and
`projections.replay.verify`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from projections.fold import fold_all
from projections.replay.events.parts import Part
from projections.replay.events.portions import READ_BYTES
from projections.state import JobState
from streams.entry_ids import FIRST, EntryId
from streams.keys import JobKey

BATCH_JOBS = 500
"""Jobs in one batch."""


class Folded(NamedTuple):
    """A job and the state that all its events result in."""

    job: JobKey
    state: JobState
    newest: EntryId
    """The newest of its entries."""
    events: int
    appends_counted: int
    """The number of appends of its events that the history has counted."""
    bytes: int
    """The size of the events in bytes."""


def fold_jobs(parts: Iterable[Part]) -> Iterator[Folded]:
    """Fold the events of a walk, job by job."""
    for job, of_job in groupby(parts, itemgetter(0)):
        folded = _fold(job, of_job)
        if folded is not None:
            yield folded


def fold_part(part: Part) -> Folded | None:
    """Fold a part that has all events of a job; return None if it has none."""
    return _fold(part.job, [part])


def batched(jobs: Iterable[Folded], size: int = BATCH_JOBS) -> Iterator[list[Folded]]:
    """Yield batches of `size` jobs, or fewer if their events are large."""
    batch, batch_bytes = list[Folded](), 0
    for each in jobs:
        batch.append(each)
        batch_bytes += each.bytes
        if len(batch) >= size or batch_bytes >= READ_BYTES:
            yield batch
            batch, batch_bytes = [], 0
    if batch:
        yield batch


def _fold(job: JobKey, parts: Iterable[Part]) -> Folded | None:
    state: JobState | None = None
    newest, count, appends, size = FIRST, 0, 0, 0
    for part in parts:
        events = part.events
        state = fold_all(state, events)
        newest = max(newest, max(map(itemgetter(0), events), default=FIRST))
        count, size = count + len(events), size + part.bytes
        appends += sum(part.appends)
    return None if state is None else Folded(job, state, newest, count, appends, size)

"""Grouping the entries of a batch by job, for the writers of projections.

Used by `projections.rows.writer` and `projections.status.writer`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter

from projections.decoding import DecodedEvent, Entry
from streams.entry_ids import EntryId
from streams.keys import JobKey

EventsByJob = Mapping[JobKey, Sequence[tuple[EntryId, DecodedEvent]]]

_KIND: Callable[[DecodedEvent], str] = attrgetter("kind")
_ID: Callable[[DecodedEvent], str] = attrgetter("id")


def by_job(entries: Sequence[Entry]) -> EventsByJob:
    """Return the events of each job, in the order of the entries."""
    if not entries:
        return {}
    # By columns: a loop over entries costs 0.2 microseconds more per event.
    tenants, ids, events, _ = zip(*entries, strict=True)
    # Plain tuples are equal to named ones, and cheaper to make.
    jobs: dict[tuple[str, str, str], list[tuple[EntryId, DecodedEvent]]] = defaultdict(list)
    keys = zip(tenants, map(_KIND, events), map(_ID, events), strict=True)
    for job, pair in zip(keys, zip(ids, events, strict=True), strict=True):
        jobs[job].append(pair)
    return {JobKey(*job): pairs for job, pairs in jobs.items()}

"""Batches: the entries that one write covers, sorted out by job."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from projections.decoding import DecodedEvent, Entry
from streams.entry_ids import EntryId
from streams.keys import JobKey

EventsByJob = Mapping[JobKey, Sequence[tuple[EntryId, DecodedEvent]]]


def by_job(entries: Sequence[Entry]) -> EventsByJob:
    """Sort entries out by job."""
    # Keys are plain tuples here, which are equal to the named ones and cheaper to make.
    jobs: dict[tuple[str, str, str], list[tuple[EntryId, DecodedEvent]]] = defaultdict(list)
    for tenant, entry_id, event, _ in entries:
        jobs[tenant, event.kind, event.id].append((entry_id, event))
    return {JobKey(*job): events for job, events in jobs.items()}

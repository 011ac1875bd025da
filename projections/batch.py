"""Batches: the entries that one write covers, sorted out by job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from projections.decoding import DecodedEvent, Entry
from streams.entry_ids import EntryId
from streams.keys import JobKey

EventsByJob = Mapping[JobKey, Sequence[tuple[EntryId, DecodedEvent]]]


def by_job(entries: Sequence[Entry]) -> EventsByJob:
    """Sort entries out by job."""
    jobs: dict[JobKey, list[tuple[EntryId, DecodedEvent]]] = {}
    for tenant, entry_id, event, _ in entries:
        jobs.setdefault(JobKey(tenant, event.kind, event.id), []).append((entry_id, event))
    return jobs

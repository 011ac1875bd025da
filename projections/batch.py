"""Batches: the entries that one write covers, sorted out by job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from streams.entries import Entry
from streams.entry_ids import EntryId
from streams.events import Event
from streams.keys import JobKey

EventsByJob = Mapping[JobKey, Sequence[tuple[EntryId, Event]]]


def by_job(entries: Sequence[Entry]) -> EventsByJob:
    """Sort entries out by job."""
    jobs: dict[JobKey, list[tuple[EntryId, Event]]] = {}
    for tenant, entry_id, event, _ in entries:
        jobs.setdefault(JobKey(tenant, event.kind, event.id), []).append((entry_id, event))
    return jobs

"""The Redis documents of jobs as facts: the fields of both documents by name.

Used by `projections.registry.status` and `projections.replay.repair`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import chain
from typing import Any

import redis

from projections.documents import Documents, write_documents
from projections.replay.served.facts import Facts, prefixed, provenance_facts
from projections.replay.tenant_shares import ALL, Share
from projections.state import JobState
from streams.cluster import keys_of
from streams.discovery import START, scan
from streams.entry_ids import EntryId
from streams.events import load_json
from streams.keys import JOB_ID, TENANT, JobKey, Keys
from streams.kinds import KINDS
from streams.wire import checked, round_trip

PAGE_KEYS = 1_000
"""Keys that one SCAN examines."""
_PREFIX = "fold."


class ServedDocuments:
    """The documents of the projection `status`; a `ServedProjection`.

    Args:
        client: a connection pool without decoding.
        keys: the names of keys.
        ttl_seconds, ended_ttl_seconds, result_cache_bytes: the settings of their writer.
        clock: returns the time in seconds since 1970.
    """

    group = "status"
    provenance_prefix = _PREFIX

    def __init__(
        self,
        client: redis.Redis,
        *,
        keys: Keys | None = None,
        ttl_seconds: int = 21_600,
        ended_ttl_seconds: int | None = None,
        result_cache_bytes: int = 10_000,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._keys = keys or keys_of(client)
        self._ttl = ttl_seconds
        self._ended_ttl = ended_ttl_seconds
        self._result_cache_bytes = result_cache_bytes
        self._clock = clock

    def read(self, jobs: Collection[JobKey]) -> Mapping[JobKey, Facts]:
        """Return the fields of the documents of these jobs, without jobs that have none."""
        return {job: _facts(*found) for job, found in self._documents(jobs).items()}

    def matching(self, states: Mapping[JobKey, JobState]) -> Collection[JobKey]:
        """Return the jobs whose documents are, byte for byte, those that the states have."""
        return [
            job
            for job, found in self._documents(states).items()
            if found == write_documents(KINDS[job.kind], states[job], self._result_cache_bytes)
        ]

    def facts(self, job: JobKey, state: JobState) -> Facts:
        """Return the fields of the documents of a state."""
        documents = write_documents(KINDS[job.kind], state, self._result_cache_bytes)
        return _facts(*documents)

    def may_be_absent(self, state: JobState, newest: EntryId) -> bool:
        """Return True if the documents of a state with this newest entry may have expired."""
        seconds = self._ended_ttl if state.state.ended else self._ttl
        return seconds is not None and self._age_seconds(newest) >= seconds

    def cannot_be_expired(self, newest: EntryId) -> bool:
        """Return True if no job with this newest entry has expired, whatever its state is."""
        least = self._ttl if self._ended_ttl is None else min(self._ttl, self._ended_ttl)
        return self._age_seconds(newest) < least

    def pages(self, tenant: str | None, share: Share = ALL) -> Iterator[list[JobKey]]:
        """Yield the jobs of all status documents of a tenant or a share, by SCAN."""
        options = ("MATCH", self._keys.pattern(":*:status", tenant), "COUNT", PAGE_KEYS)
        cursor = START
        while True:
            cursor, names = scan(self._client, cursor, *options)
            found = filter(None, (_job_of(name, self._keys) for name in names))
            jobs = [job for job in found if share.holds(job.tenant)]
            if jobs:
                yield jobs
            if cursor == START:
                return

    def _age_seconds(self, entry_id: EntryId) -> float:
        return self._clock() - entry_id.ms / 1000

    def _documents(self, jobs: Collection[JobKey]) -> Mapping[JobKey, Documents]:
        parts = self._keys.by_slot(jobs, lambda job: job.tenant)
        commands = [
            ("MGET", *(name for job in part for name in self._keys.documents(job)))
            for part in parts
        ]
        values = chain.from_iterable(checked(round_trip(self._client, commands)))
        return {
            job: Documents(status, progress)
            for job, status, progress in zip(
                chain.from_iterable(parts), values, values, strict=True
            )
            if status is not None
        }


def _facts(status: bytes, progress: bytes | None) -> Facts:
    """Return the fields of two documents; a document that is not an object is one fact."""
    facts = _object(status)
    if facts is None:
        return {"status": status.decode(errors="replace")}
    provenances = facts.pop("fold", None)
    if isinstance(provenances, dict):
        facts |= provenance_facts(_PREFIX, provenances)
    if progress is None:
        return facts
    fields = _object(progress)
    if fields is None:
        return facts | {"progress": progress.decode(errors="replace")}
    return facts | prefixed("progress.", fields)


def _object(raw: bytes) -> dict[str, Any] | None:
    try:
        value = load_json(raw)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _job_of(name: bytes, keys: Keys) -> JobKey | None:
    """Return the job of a status document's key; None for any other key."""
    parts = name.decode(errors="replace").removesuffix(":status").split(":", 3)
    if len(parts) != 4 or parts[0] != "tenant":
        return None
    _, part, kind, job_id = parts
    tenant = keys.tenant_in(part)
    known = TENANT.match(tenant) and kind in KINDS and JOB_ID.match(job_id)
    return JobKey(tenant, kind, job_id) if known else None

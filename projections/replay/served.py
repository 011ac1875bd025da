"""What a projection serves, as plain facts by name, so that it can be held against the fold.

Facts are the fields that readers see; positions (which entries told them) stand beside them under
`fold.` or `positions.`. Both projections are read in batches and without holding anybody up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, cast

import psycopg
import redis

from projections.documents import Documents, write_documents
from projections.replay.job_arrays import job_arrays
from projections.replay.tenant_shares import ALL, Share
from projections.rows.columns import JOB_LISTS, facts_of_row, stored_values
from projections.state import JobState
from sql import queries
from streams.entry_ids import EntryId
from streams.events import dump_json, load_json
from streams.keys import JOB_ID, TENANT, JobKey, Keys, key_pattern
from streams.kinds import KINDS

_QUERIES, _ROWS = queries("rebuild", JOB_LISTS), queries("rows")
PAGE = 1_000
"""Keys in one page of all that is served."""

Facts = Mapping[str, Any]


class _Nothing:
    """Stands for a field, or a whole job, that is not there."""

    def __repr__(self) -> str:
        return "nothing"


NOTHING = _Nothing()


class Difference(NamedTuple):
    """One field in which what is served is not what the events say."""

    job: JobKey
    field: str
    served: Any
    folded: Any

    def __str__(self) -> str:
        """Give the line that people read."""
        whose = " ".join(self.job)
        return f"{whose} {self.field}: served {_text(self.served)}, folded {_text(self.folded)}"


class Served(Protocol):
    """One projection, read."""

    group: str
    positions: str
    """What the names of positions begin with."""

    def read(self, jobs: Collection[JobKey]) -> Mapping[JobKey, Facts]:
        """Give what is served of these jobs; those of which nothing is are left out."""
        ...

    def matching(self, states: Mapping[JobKey, JobState]) -> Collection[JobKey]:
        """Return jobs that are served exactly as their states are written; it may miss some.

        This costs a third of reading facts and comparing them.
        """
        ...

    def facts(self, job: JobKey, state: JobState) -> Facts:
        """Give what a state would be served as."""
        ...

    def may_be_absent(self, state: JobState, newest: EntryId) -> bool:
        """Whether the job may rightly be served no more."""
        ...

    def pages(self, tenant: str | None, share: Share = ALL) -> Iterator[list[JobKey]]:
        """Yield the keys of all that is served of a tenant or a share; some may come twice."""
        ...


class StatusServed:
    """The Redis documents.

    Args:
        ttl_seconds, ended_ttl_seconds, result_cache_bytes: as the writer has them.
        clock: seconds since 1970.
    """

    group = "status"
    positions = "fold."

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
        self._keys = keys or Keys()
        self._ttl = ttl_seconds
        self._ended_ttl = ended_ttl_seconds
        self._result_cache_bytes = result_cache_bytes
        self._clock = clock

    def read(self, jobs: Collection[JobKey]) -> Mapping[JobKey, Facts]:
        """Give the documents' fields."""
        return {job: _document_facts(*found) for job, found in self._documents(jobs).items()}

    def _documents(self, jobs: Collection[JobKey]) -> Mapping[JobKey, Documents]:
        if not jobs:
            return {}
        names = [name for job in jobs for name in self._keys.documents(job)]
        values = cast("list[bytes | None]", self._client.mget(names))
        return {
            job: Documents(status, progress)
            for job, status, progress in zip(jobs, values[::2], values[1::2], strict=True)
            if status is not None
        }

    def matching(self, states: Mapping[JobKey, JobState]) -> Collection[JobKey]:
        """Return the jobs whose documents have the very bytes that their states are written as."""
        return [
            job
            for job, found in self._documents(states).items()
            if found == write_documents(KINDS[job.kind], states[job], self._result_cache_bytes)
        ]

    def facts(self, job: JobKey, state: JobState) -> Facts:
        """Give the fields of the documents that a state is written as."""
        documents = write_documents(KINDS[job.kind], state, self._result_cache_bytes)
        return _document_facts(*documents)

    def may_be_absent(self, state: JobState, newest: EntryId) -> bool:
        """Whether so much time has passed that its documents may have expired."""
        seconds = self._ended_ttl if state.state.ended else self._ttl
        return seconds is not None and self._clock() - newest.ms / 1000 >= seconds

    def is_young(self, newest: EntryId) -> bool:
        """Whether no job with so new an entry has expired, however it stands."""
        least = self._ttl if self._ended_ttl is None else min(self._ttl, self._ended_ttl)
        return self._clock() - newest.ms / 1000 < least

    def pages(self, tenant: str | None, share: Share = ALL) -> Iterator[list[JobKey]]:
        """Look through the keyspace."""
        cursor: Any = 0
        pattern = key_pattern(":*:status", tenant)
        while True:
            cursor, names = self._client.scan(cursor, match=pattern, count=PAGE)
            found = filter(None, map(_job_of, cast("list[bytes]", names)))
            jobs = [job for job in found if share.holds(job.tenant)]
            if jobs:
                yield jobs
            if cursor == 0:
                return


class RowsServed:
    """The table `jobs`, on a connection that sees all tenants' rows."""

    group = "rows"
    positions = "positions."

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection

    def read(self, jobs: Collection[JobKey]) -> Mapping[JobKey, Facts]:
        """Give the rows' columns."""
        return {JobKey(*row[:3]): _row_facts(row) for row in self._rows(jobs)}

    def _rows(self, jobs: Collection[JobKey]) -> Sequence[tuple[Any, ...]]:
        if not jobs:
            return []
        self._connection.execute(_ROWS["plan_by_keys"])
        found = self._connection.execute(_QUERIES["rows_of"], job_arrays(jobs))
        self._connection.execute(_QUERIES["plan_as_usual"])
        return found.fetchall()

    def matching(self, states: Mapping[JobKey, JobState]) -> Collection[JobKey]:
        """Return the jobs whose rows have the very values that their states are written as."""
        rows = self._rows(states)
        jobs = [JobKey(*row[:3]) for row in rows]
        return [
            job
            for job, row in zip(jobs, rows, strict=True)
            if row == stored_values(job, states[job])
        ]

    def facts(self, job: JobKey, state: JobState) -> Facts:
        """Give the columns of the row that a state is written as."""
        return _row_facts(stored_values(job, state))

    def may_be_absent(self, state: JobState, newest: EntryId) -> bool:
        """Rows last."""
        del state, newest
        return False

    def pages(self, tenant: str | None, share: Share = ALL) -> Iterator[list[JobKey]]:
        """Walk along the primary key."""
        after = JobKey("", "", "")
        while True:
            found = self._connection.execute(
                _QUERIES["all_rows"],
                {
                    "after_tenant": after.tenant,
                    "after_kind": after.kind,
                    "after_id": after.id,
                    "tenant": tenant,
                    "limit": PAGE,
                    **share._asdict(),
                },
            ).fetchall()
            if not found:
                return
            jobs = [JobKey(*row) for row in found]
            yield jobs
            after = jobs[-1]


def differences(job: JobKey, served: Facts | None, folded: Facts | None) -> list[Difference]:
    """Give every field in which the two differ, by name."""
    if served is None or folded is None:
        if served is folded:
            return []
        words = [NOTHING if facts is None else facts.get("status") for facts in (served, folded)]
        return [Difference(job, "status", *words)]
    if served == folded:
        return []
    return [
        Difference(job, name, served.get(name, NOTHING), folded.get(name, NOTHING))
        for name in sorted({*served, *folded})
        if served.get(name, NOTHING) != folded.get(name, NOTHING)
    ]


def _document_facts(status: bytes, progress: bytes | None) -> Facts:
    facts = _object(status)
    if facts is None:
        return {"status": status.decode(errors="replace")}
    positions = facts.pop("fold", None)
    facts |= _positions("fold.", positions) if isinstance(positions, dict) else {}
    if progress is None:
        return facts
    told = _object(progress)
    if told is None:
        return facts | {"progress": progress.decode(errors="replace")}
    return facts | _named("progress.", told)


def _row_facts(row: tuple[Any, ...]) -> Facts:
    facts = facts_of_row(row)
    return facts | _positions("positions.", facts.pop("positions"))


def _named(prefix: str, facts: Facts) -> dict[str, Any]:
    return {prefix + name: value for name, value in facts.items()}


def _positions(prefix: str, positions: Facts) -> dict[str, Any]:
    """Give positions by name, each label's on its own."""
    labels = positions.get("labels")
    named = _named(prefix, positions)
    if not isinstance(labels, dict):
        return named
    del named[f"{prefix}labels"]
    return named | _named(f"{prefix}labels.", labels)


def _object(raw: bytes) -> dict[str, Any] | None:
    try:
        value = load_json(raw)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _job_of(name: bytes) -> JobKey | None:
    """Give whose status document a key is; None for a key of another make."""
    parts = name.decode(errors="replace").removesuffix(":status").split(":", 3)
    if len(parts) != 4 or parts[0] != "tenant":
        return None
    _, tenant, kind, job_id = parts
    known = TENANT.match(tenant) and kind in KINDS and JOB_ID.match(job_id)
    return JobKey(tenant, kind, job_id) if known else None


def _text(value: Any) -> str:
    if value is NOTHING:
        return "nothing"
    if isinstance(value, str):
        return value
    return dump_json(value).decode()

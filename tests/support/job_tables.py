"""The contents of the tables `jobs` and `job_events`, and what is expected of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import psycopg

from projections.decoding import Entry, decode
from projections.documents import write_documents
from projections.rows.columns import JOB_LISTS, state_of_row
from projections.rows.writer import JobRows
from projections.state import JobState
from streams.entry_ids import EntryId
from streams.event_ids import new_event_id
from streams.keys import JobKey
from streams.kinds import KINDS
from tests.support.oracle import expected_state

ONE = JobKey("42", "job", "a1")

Writer = Callable[[], JobRows]


def event(position: str, type_: str, *, job: JobKey = ONE, **fields: Any) -> Entry:
    raw = json.dumps({"type": type_, "kind": job.kind, "id": job.id, **fields}).encode()
    return decode(job.tenant, EntryId.parse(position), [b"event", raw], 2**24)


def uuid7_at(ms: int) -> str:
    """Return an event id made at that time."""
    digits = f"{ms:012x}"
    return f"{digits[:8]}-{digits[8:]}-7{new_event_id()[15:]}"


def states(connection: psycopg.Connection, tenant: str = "42") -> dict[JobKey, JobState]:
    query = f"SELECT {JOB_LISTS['state_row']} FROM jobs AS j WHERE tenant = %s"
    found = connection.execute(cast("Any", query), (tenant,))
    return {JobKey(*row[:3]): state_of_row(row) for row in found}


def history(connection: psycopg.Connection, tenant: str = "42") -> list[tuple[Any, ...]]:
    """Return what the history holds of a tenant: the job, the event, and its bytes."""
    return connection.execute(
        "SELECT kind, id, event_id, type, attempt, event FROM job_events WHERE tenant = %s"
        " ORDER BY kind, id, event_id",
        (tenant,),
    ).fetchall()


def partitions_of(connection: psycopg.Connection) -> dict[str, int]:
    """Count the events by the partition they lie in."""
    return dict(
        connection.execute("SELECT tableoid::regclass::text, count(*) FROM job_events GROUP BY 1")
    )


def by_job(entries: Iterable[Entry]) -> dict[JobKey, list[Entry]]:
    jobs: dict[JobKey, list[Entry]] = {}
    for entry in entries:
        jobs.setdefault(entry.job, []).append(entry)
    return jobs


def check(connection: psycopg.Connection, entries: Sequence[Entry]) -> None:
    """Rows are the fold, agree with the Redis documents, and the history has each event once."""
    tenant = entries[0].tenant
    found = states(connection, tenant)
    expected = {job: expected_state(log) for job, log in by_job(entries).items()}
    assert found == expected
    for job, state in expected.items():
        kind = KINDS[job.kind]
        assert write_documents(kind, found[job]) == write_documents(kind, state)
    said = {
        (entry.job.kind, entry.job.id, entry.event_id, entry.event.type, entry.event.attempt)
        for entry in entries
    }
    held = history(connection, tenant)
    assert {row[:5] for row in held} == said
    assert len(held) == len(said)
    assert {row[5] for row in held} <= {entry.raw.decode() for entry in entries}


def waiting_for_a_lock(connection: psycopg.Connection) -> bool:
    found = connection.execute(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    ).fetchone()
    return found is not None and found[0] > 0

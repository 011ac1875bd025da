"""Recorded statements, sent again, result in the same rows as the product."""

from __future__ import annotations

from typing import Any

import psycopg

from benchmarks.delivery import NAMES
from benchmarks.recorded import Begin, Copy, End, Execute, Recorder, send_again
from benchmarks.workload import lives
from projections.decoding import decode
from projections.rows.writer import JobRows
from sql import sessions
from streams.entry_ids import EntryId

BATCH = 150


def _entries() -> list[Any]:
    events = lives(NAMES[:3], 20)
    return [
        decode(tenant, EntryId(1_790_000_000_000 + number, 0), [b"event", raw])
        for number, (tenant, raw) in enumerate(events)
    ]


_HISTORY = "SELECT * FROM job_events ORDER BY tenant, kind, id, event_id"
_JOBS = """
SELECT tenant, kind, id, attempt, state, status, job_type, labels, worker, progress::text,
       result::text, created_at, started_at, updated_at, ended_at, positions::text
FROM jobs ORDER BY tenant, kind, id
"""


def _tables(connection: psycopg.Connection) -> list[Any]:
    return [connection.execute(query).fetchall() for query in (_HISTORY, _JOBS)]


def _record(url: str) -> Recorder:
    recorder, entries = Recorder(), _entries()
    with recorder.recording():
        rows = JobRows(lambda: sessions.connect(url, "test"))
        rows.apply(entries[:1])  # opens the session and creates partitions
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("TRUNCATE jobs, job_events")
        recorder.steps.clear()
        for at in range(0, len(entries), BATCH):
            rows.apply(entries[at : at + BATCH])
        rows.close()
    return recorder


def test_statements_sent_again_leave_the_same_rows_wherever_they_stand(database_url: str) -> None:
    recorder = _record(database_url)
    with (
        psycopg.connect(database_url, autocommit=True) as connection,
        sessions.connect(database_url, "test") as session,
    ):
        left = _tables(connection)
        assert len(left[1]) == 60
        connection.execute("TRUNCATE jobs, job_events")
        send_again(session, recorder.steps)
        assert _tables(connection) == left

        # Rows with other ctids than when they were recorded.
        connection.execute("DELETE FROM jobs WHERE id LIKE '%1'")
        connection.execute("DELETE FROM jobs")
        connection.execute("DELETE FROM job_events")
        send_again(session, recorder.steps)
        assert _tables(connection) == left


def test_transactions_statements_and_copies_are_recorded_in_their_order(database_url: str) -> None:
    steps = _record(database_url).steps
    batches = -(-len(_entries()) // BATCH)
    begins, ends = (sum(isinstance(step, kind) for step in steps) for kind in (Begin, End))
    assert begins == ends >= batches
    copied = [step for step in steps if isinstance(step, Copy)]
    assert sum(len(step.rows) for step in copied) >= len(_entries())
    assert any(isinstance(step, Execute) for step in steps)

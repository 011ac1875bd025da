"""Rows are locked by their keys and updated at their places, whatever the planner knows of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import psycopg
import pytest
from psycopg.sql import SQL

from consumers.faults import is_outage
from projections.replay.job_arrays import job_arrays
from projections.rows.columns import JOB_LISTS, job_values
from projections.rows.writer import JobRows, _arrays, _lock, _update
from sql import queries, sessions
from streams.keys import JobKey
from tests.support.job_tables import ONE, event, states, waiting_for_a_lock
from tests.support.oracle import expected_state
from tests.support.waiting import ENDING, eventually

QUERIES = queries("rows", JOB_LISTS)
REBUILD = queries("rebuild", JOB_LISTS)
SIZES = (0, 0, 100, 5_000, 40_000)
BATCHES = (1, 400, 4_000)
FILL = """
INSERT INTO jobs (
    tenant, kind, id, attempt, state, status, created_at, updated_at, positions, labels
)
SELECT 't' || mod(n, 10), 'job', 'import-' || to_char(n / 10, 'FM0000000'), 1, 'processing',
       'PROCESSING', now(), now(), json_build_object('filler', repeat('x', 200)), '{}'
FROM generate_series(%s::int, %s::int - 1) AS n
"""


def nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for each in plan.get("Plans", []):
        yield from nodes(each)


def scans(connection: psycopg.Connection, name: str, values: Any) -> set[tuple[str, str | None]]:
    """Return how a statement reads `jobs`."""
    explain = SQL("EXPLAIN (FORMAT JSON) ") + SQL({**QUERIES, **REBUILD}[name])
    row = connection.execute(explain, values).fetchone()
    assert row is not None
    return {
        (node["Node Type"], node.get("Index Name"))
        for node in nodes(row[0][0]["Plan"])
        if node.get("Relation Name") == "jobs" and node["Node Type"] != "ModifyTable"
    }


@pytest.mark.parametrize("settled", [True, False], ids=["direct", "pooled"])
def test_plans__table_of_any_size_never_analysed__by_the_primary_key_and_by_place(
    database_url: str, db: psycopg.Connection, *, settled: bool
) -> None:
    db.execute("ALTER TABLE jobs SET (autovacuum_enabled = off)")
    with sessions.connect(database_url, "test") as writer:
        if settled:
            writer.settle()
        for before, size in pairwise(SIZES):
            db.execute(FILL, (before, size))
            with writer.transaction():
                writer.execute(QUERIES["plan_by_keys"])
                for batch in BATCHES:
                    keys = [JobKey(f"t{n % 10}", "job", f"import-{n:07}") for n in range(batch)]
                    wanted = [list(column) for column in zip(*keys, strict=True)]
                    assert scans(writer, "lock_jobs", wanted) == {("Index Scan", "jobs_pkey")}
                    served = job_arrays(keys)
                    assert scans(writer, "rows_of", served) == {("Index Scan", "jobs_pkey")}
                    values = [(*_values(key), f"({n},1)") for n, key in enumerate(keys)]
                    assert scans(writer, "update_jobs", _arrays(values)) == {("Tid Scan", None)}
            # The settings belong to the transaction.
            assert writer.execute("SHOW enable_seqscan").fetchone() == ("on",)
    analysed = db.execute(
        "SELECT last_analyze, last_autoanalyze FROM pg_stat_user_tables WHERE relname = 'jobs'"
    ).fetchone()
    assert analysed == (None, None)


def _values(key: JobKey) -> tuple[Any, ...]:
    return job_values(key, expected_state([event("1-0", "processing", job=key)]))


CHANGES = {"in place": 1, "in place, twice": 2, "to another page": 1}


@pytest.mark.parametrize("change", CHANGES)
def test_lock__row_changed_between_the_snapshot_and_the_lock__read_and_updated_where_it_is(
    rows: JobRows, db: psycopg.Connection, database_url: str, change: str
) -> None:
    far = change == "to another page"
    others = [JobKey("42", "job", f"b{n}") for n in range(40)]
    rows.apply([event("2-0", "processing"), *(event("2-0", "queued", job=job) for job in others)])
    with psycopg.connect(database_url) as holder, ThreadPoolExecutor(1) as pool:
        with holder.transaction():
            before = place(holder)
            for turn in range(CHANGES[change]):
                holder.execute(CHANGE, {"job_type": f"type {turn}", "far": far})
            slow = pool.submit(rows.apply, [event("3-0", "progress", percent=7)])
            eventually(lambda: waiting_for_a_lock(db), what="the writer at the lock")
            after = place(holder)
        slow.result(timeout=ENDING)
    assert before != after
    assert (before[0] != after[0]) is far
    found = states(db)
    state = found[ONE]
    assert state.job_type is not None
    assert state.progress is not None
    assert (state.job_type.value, state.progress.fields["percent"]) == (f"type {turn}", 7)
    assert len(found) == 1 + len(others)


CHANGE = """
UPDATE jobs
SET job_type = %(job_type)s,
    positions = jsonb_set(positions::jsonb, '{job_type}', '"1/1-0"')::json,
    worker = CASE WHEN %(far)s THEN
        (SELECT string_agg(md5(n::text), '') FROM generate_series(1, 55) AS n) END
WHERE id = 'a1'
"""


def place(connection: psycopg.Connection) -> list[str]:
    """Return the block and the number in it."""
    row = connection.execute("SELECT ctid::text FROM jobs WHERE id = 'a1'").fetchone()
    assert row is not None
    return str(row[0]).strip("()").split(",")


def test_lock__row_read__stays_at_its_place_while_others_write_beside_it(
    rows: JobRows, db: psycopg.Connection, database_url: str
) -> None:
    """A page that is pruned, vacuumed and filled meanwhile moves no locked row."""
    jobs = [JobKey("42", "job", f"b{n}") for n in range(40)]
    rows.apply([event("1-0", "queued"), *(event("1-0", "queued", job=job) for job in jobs)])
    with sessions.connect(database_url, "test") as writer, writer.transaction():
        (locked,) = _lock(writer, [ONE]).values()
        rows.apply([event("2-0", "processing", job=job) for job in jobs])
        db.execute("VACUUM jobs")
        rows.apply([event("3-0", "done", job=job) for job in jobs])
        assert (place(db), locked.place) == (place(writer), f"({','.join(place(writer))})")


def test_update__a_place_that_is_not_the_rows__changes_nothing_and_is_an_outage(
    rows: JobRows, db: psycopg.Connection, database_url: str
) -> None:
    other = JobKey("42", "job", "b")
    rows.apply([event("1-0", "queued"), event("1-0", "queued", job=other)])
    before = states(db)
    with sessions.connect(database_url, "test") as writer:
        (locked,) = _lock(writer, [other]).values()
        with pytest.raises(psycopg.errors.SerializationFailure) as raised:
            _update(writer, [(*_values(ONE), locked.place)])
    assert is_outage(raised.value)
    assert states(db) == before


def test_updates__of_jobs_that_merely_progress__write_to_no_index(
    rows: JobRows, db: psycopg.Connection
) -> None:
    jobs = [JobKey("42", "job", f"b{n}") for n in range(200)]
    rows.apply([event("1-0", "processing", job=job) for job in jobs])
    for n in range(2, 8):
        rows.apply([event(f"{n}-0", "progress", job=job, percent=n * 10) for job in jobs[::10]])
    rows.close()
    counted = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'jobs'"
    eventually(lambda: (db.execute(counted).fetchone() or (0,))[0] == 120, what="the statistics")
    (_, hot) = db.execute(counted).fetchone() or (0, 0)
    assert hot >= 115

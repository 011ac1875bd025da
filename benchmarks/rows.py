"""Rows and history: draining the streams into PostgreSQL, with two limits.

The first limit sends the product's statements again (`recorded`): the cost of the two tables in
PostgreSQL and of the connection, without the work of the product. A COPY of the history alone is
the limit of a history without jobs.

Both sizes are measured in a new cluster without statistics, so that a query plan that needs them,
or small tables, is noticed.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import psycopg
import redis

from benchmarks.delivery import EVENTS_A_JOB, NAMES, ROUNDS, drain
from benchmarks.measure import Sample, compare
from benchmarks.recorded import Recorder, Step, send_again
from benchmarks.report import Figure
from benchmarks.servers import Bench
from benchmarks.workload import KEYS, fill, lives
from consumers.composition import build
from consumers.loop.read_ahead import QUANTUM
from projections.decoding import decode
from projections.history.event_rows import COLUMN_TYPES, EventRow, event_row
from projections.registry.rows import BATCH
from sql import sessions
from streams.entry_ids import of_reply

SIZES = {"small": 200, "large": 1_000}
"""Jobs of each tenant."""

_NEVER_ANALYSED = "ALTER TABLE jobs SET (autovacuum_analyze_threshold = 2000000000)"
_ANALYSED = """
SELECT count(*) FROM pg_stat_user_tables
WHERE relname = 'jobs' AND coalesce(last_analyze, last_autoanalyze) IS NOT NULL
"""
_STORED = """
SELECT (SELECT count(*) FROM job_events), (SELECT count(*) FROM jobs WHERE state = 'done')
"""
_COPY = "COPY bare_events FROM STDIN (FORMAT BINARY)"
_BARE = """
CREATE TABLE IF NOT EXISTS bare_events (
    LIKE job_events, PRIMARY KEY (tenant, kind, id, event_id, day)
)
"""


def rows(bench: Bench) -> list[Figure]:
    """Project streams of two sizes; limits: the same statements again, and COPY alone."""
    with (
        bench.fresh_postgres() as server,
        psycopg.connect(server.url, autocommit=True) as connection,
    ):
        connection.execute(_NEVER_ANALYSED)
        connection.execute(_BARE)
        sizes = {name: bench.scaled(jobs, least=20) for name, jobs in SIZES.items()}
        figures = [_beside_statements(bench, connection, *size) for size in sizes.items()]
        figures.append(_beside_copy(bench, connection, sizes["large"]))
        if cast("Any", connection.execute(_ANALYSED).fetchone())[0]:
            raise RuntimeError("the cluster must not have statistics")
    return figures


def _beside_statements(
    bench: Bench, connection: psycopg.Connection, size: str, jobs: int
) -> Figure:
    count = jobs * EVENTS_A_JOB * len(NAMES)
    consumer = build("rows", bench.settings(), bench.client, "bench")

    def product() -> Sample:
        _filled(bench, connection, jobs)
        return bench.measured(count, lambda: drain(consumer, count))

    def limit() -> Sample:
        connection.execute("TRUNCATE jobs, job_events")
        sample = bench.measured(count, lambda: send_again(session, steps))
        _expect_all(connection, count)
        return sample

    steps = _record(bench, connection, jobs)
    with (
        sessions.connect(bench.postgres.url, "jobtrail-bench") as session,
        _out_of_the_collectors_way(),
    ):
        session.settle()
        found = compare(bench.rounds(ROUNDS), product, limit)
    return Figure(
        f"project rows and history, {count:,} events / the same statements, rows ready-made",
        aim=0.55,
        key=f"rows_{size}",
        **found.fields(),
        details={
            "limit": "the product's transactions, statements and rows, recorded and sent again",
            "events": count,
            "statements": len(steps),
        },
    )


def _record(bench: Bench, connection: psycopg.Connection, jobs: int) -> Sequence[Step]:
    """Drain the streams with a consumer; return the statements from its second batch on."""
    recorder = Recorder()
    with recorder.recording():
        consumer = build("rows", bench.settings(), bench.client, "bench")
        drain(consumer, _filled(bench, connection, 1))  # opens the session and creates partitions
        recorder.steps.clear()
        drain(consumer, _filled(bench, connection, jobs))
    return recorder.steps


def _beside_copy(bench: Bench, connection: psycopg.Connection, jobs: int) -> Figure:
    count = jobs * EVENTS_A_JOB * len(NAMES)
    consumer = build("rows", bench.settings(), bench.client, "bench")

    def product() -> Sample:
        _filled(bench, connection, jobs)
        return bench.measured(count, lambda: drain(consumer, count))

    def limit() -> Sample:
        connection.execute("TRUNCATE bare_events")
        batches = list(_batches(bench.client, NAMES))
        return bench.measured(count, lambda: _copy(connection, batches))

    return Figure(
        f"project rows and history, {count:,} events / bare COPY of the history",
        key="rows_copy",
        **compare(bench.rounds(ROUNDS), product, limit).fields(),
        details={
            "limit": "psycopg binary COPY of ready rows, the same primary key and batches",
            "batch": BATCH,
        },
    )


def _expect_all(connection: psycopg.Connection, count: int) -> None:
    """Raise an error unless the statements result in the same rows as the product."""
    found = connection.execute(_STORED).fetchone()
    if found != (count, count // EVENTS_A_JOB):
        raise RuntimeError(f"events and ended jobs after the same statements: {found}")


def _filled(bench: Bench, connection: psycopg.Connection, jobs: int) -> int:
    """Delete everything and fill the streams."""
    bench.empty()
    connection.execute("TRUNCATE jobs, job_events")
    return fill(bench.client, lives(NAMES, jobs))


@contextmanager
def _out_of_the_collectors_way() -> Iterator[None]:
    """Exclude the recorded statements from garbage collection while the product works."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _batches(client: redis.Redis, names: Sequence[str]) -> Iterator[list[EventRow]]:
    """Return the rows of the history, in the batches that a consumer reads."""
    quantum = max(1, min(QUANTUM, BATCH // len(names)))
    waiting = {name: _rows(client, name) for name in names}
    while any(waiting.values()):
        yield [row for name in names for row in waiting[name][:quantum]]
        waiting = {name: rows[quantum:] for name, rows in waiting.items()}


def _rows(client: redis.Redis, tenant: str) -> list[EventRow]:
    entries = cast("Any", client.xrange(KEYS.stream(tenant)))
    return [
        event_row(decode(tenant, of_reply(entry_id), [b"event", fields[b"event"]]))
        for entry_id, fields in entries
    ]


def _copy(connection: psycopg.Connection, batches: Sequence[Sequence[EventRow]]) -> None:
    for batch in batches:
        with (
            connection.transaction(),
            connection.cursor() as cursor,
            cursor.copy(_COPY) as copy,
        ):
            copy.set_types(COLUMN_TYPES)
            for row in batch:
                copy.write_row(row)

"""Bytes: the storage of an event and a job in Redis and PostgreSQL, compared with their size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import psycopg

from benchmarks.delivery import EVENTS_A_JOB, NAMES, drain
from benchmarks.report import Figure
from benchmarks.servers import Bench
from benchmarks.workload import CHUNK, KEYS, Payload, fill, job_id, lives
from consumers.composition import build
from streams.keys import JobKey
from streams.wire import checked, round_trip

_SIZE = """
SELECT sum(pg_table_size(c.oid))::bigint, sum(pg_indexes_size(c.oid))::bigint FROM pg_class AS c
WHERE c.relkind = 'r' AND c.relname ~ %s
"""
_HISTORY, _ROWS = "^job_events", "^job(s|_facets)$"


def held_bytes(bench: Bench) -> list[Figure]:
    """Append events, project them into both stores, and measure the growth each time."""
    bench.empty()
    jobs = bench.scaled(1_000, least=50)
    payloads = list(lives(NAMES, jobs))
    with psycopg.connect(bench.postgres.url, autocommit=True) as connection:
        connection.execute("TRUNCATE jobs, job_events")
        count = fill(bench.client, payloads)
        drain(build("rows", bench.settings(), bench.client, "bench"), count)
        appended = _redis_bytes(bench)
        drain(build("status", bench.settings(), bench.client, "bench"), count)
        projected = _redis_bytes(bench)
        history, rows = (
            cast("Any", connection.execute(_SIZE, (which,)).fetchone())
            for which in (_HISTORY, _ROWS)
        )
    event, job = _mean_bytes(payloads), _documents_bytes(bench, jobs)
    all_jobs = count // EVENTS_A_JOB
    return [
        _figure("PostgreSQL bytes an event, history and its indexes / the event's own bytes",
                sum(history) / count, event, 2.0, key="postgres_event",
                details={"table": history[0] / count, "indexes": history[1] / count}),
        _figure("PostgreSQL bytes a job, its row, facets and indexes / its documents' bytes",
                sum(rows) / all_jobs, job, key="postgres_job",
                details={"tables": rows[0] / all_jobs, "indexes": rows[1] / all_jobs}),
        _figure("Redis bytes an event in the log / the event's own bytes",
                appended / count, event, key="redis_event"),
        _figure("Redis bytes a job, feed included / its documents' bytes",
                (projected - appended) / all_jobs, job, key="redis_job"),
    ]  # fmt: skip


def _figure(
    name: str,
    held: float,
    own: float,
    aim: float | None = None,
    *,
    key: str,
    details: Mapping[str, float] | None = None,
) -> Figure:
    return Figure(
        name,
        held / own,
        aim,
        key=key,
        timed=False,
        product=f"{held:,.0f} bytes",
        limit=f"{own:,.0f} bytes",
        details=details or {},
    )


def _redis_bytes(bench: Bench) -> int:
    """Return the bytes of all keys; `used_memory` would include the clients' buffers."""
    total, keys = 0, list(bench.client.scan_iter(count=CHUNK))
    for at in range(0, len(keys), CHUNK):
        commands = [("MEMORY", "USAGE", key, "SAMPLES", 0) for key in keys[at : at + CHUNK]]
        total += sum(checked(round_trip(bench.client, commands)))
    return total


def _mean_bytes(payloads: list[Payload]) -> float:
    return sum(len(raw) for _, raw in payloads) / len(payloads)


def _documents_bytes(bench: Bench, jobs: int) -> float:
    """Return the bytes of the documents of a job."""
    jobs_read = [JobKey(name, "job", job_id(job)) for name in NAMES for job in range(jobs)]
    keys = [key for job in jobs_read for key in (KEYS.status(job), KEYS.progress(job))]
    total = 0
    for at in range(0, len(keys), CHUNK):
        commands = [("STRLEN", key) for key in keys[at : at + CHUNK]]
        total += sum(checked(round_trip(bench.client, commands)))
    return total / len(jobs_read)

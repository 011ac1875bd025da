"""A million rows for lists, half of them of one tenant; filters match many, few or no rows.

The server makes them itself, without triggers, and the indexes are built again afterwards. Rows,
facets and figures are those that the triggers would have made.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg
from psycopg.sql import SQL, Identifier

ROWS = 1_000_000
_SPAN = timedelta(seconds=15 * ROWS)
"""The time from the first row to the last one, for any number of rows."""
BIG = "big"
"""The tenant that has half of all rows."""

_FILL = """
INSERT INTO jobs (
    tenant, kind, id, attempt, state, status, job_type, labels, worker, progress, result,
    error, code, created_at, started_at, updated_at, ended_at, positions, listed_at
)
SELECT
    CASE WHEN n %% 2 = 0 THEN 'big' ELSE 't' || n %% 500 END,
    CASE WHEN n %% 20 < 18 THEN 'job' ELSE 'video' END,
    'import-' || lpad(n::text, 7, '0'),
    1,
    state,
    CASE state WHEN 'queued' THEN 'PENDING' ELSE upper(state) END,
    CASE WHEN b < 0.6 THEN 'excel' WHEN b < 0.9 THEN 'omr' WHEN b < 0.999 THEN 'hls'
         ELSE 'rare' END,
    CASE WHEN c < 0.5 THEN jsonb_build_object('customer', 'c' || (8000 * c ^ 3)::integer)
         ELSE '{}' END
    || CASE WHEN d < 0.3 THEN '{"source":"upload"}'::jsonb
            WHEN d < 0.4 THEN '{"source":"api"}' ELSE '{}' END
    || CASE WHEN n %% %(tenth)s = 0 THEN '{"flag":"red"}'::jsonb ELSE '{}' END,
    'worker-' || n %% 8,
    '{"step":"sheet-7","percent":70}',
    CASE WHEN state = 'done' THEN '{"rows":100,"rejected":0}'::json END,
    CASE WHEN state = 'failed' THEN 'the file cannot be read' END,
    NULL,
    at, at,
    at + CASE WHEN n %% 1000 = 0 THEN interval '40 days' * d ELSE interval '10 minutes' * d END,
    CASE WHEN state IN ('done', 'failed', 'cancelled')
         THEN at + CASE WHEN n %% 1000 = 0 THEN interval '40 days' * d
                        ELSE interval '10 minutes' * d END END,
    CASE state WHEN 'processing'
         THEN json_build_object('entry_id', (extract(epoch FROM at) * 1000)::bigint || '-0')
         ELSE '{}' END,
    at
FROM (
    SELECT n, b, c, d, timestamptz '2026-01-01 00:00:00Z' + n * %(pause)s AS at,
           CASE WHEN a < 0.92 THEN 'done' WHEN a < 0.96 THEN 'failed' WHEN a < 0.98 THEN 'cancelled'
                WHEN a < 0.999 THEN 'processing' ELSE 'queued' END AS state
    FROM (SELECT n, random() AS a, random() AS b, random() AS c, random() AS d
          FROM generate_series(1, %(rows)s::integer) AS n) AS drawn
) AS made
"""
_FACETS = """
INSERT INTO job_facets
SELECT tenant, kind, 'job_type', job_type, listed_at, id FROM jobs
UNION ALL
SELECT tenant, kind, 'label.' || l.key, l.value, listed_at, id
FROM jobs, jsonb_each_text(labels) AS l
"""
_INDEXES = """
SELECT i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid), c.conname,
       pg_get_constraintdef(c.oid), i.indrelid::regclass::text
FROM pg_index AS i LEFT JOIN pg_constraint AS c ON c.conindid = i.indexrelid
WHERE i.indrelid IN ('jobs'::regclass, 'job_facets'::regclass)
"""


def fill(url: str, rows: int = ROWS) -> None:
    """Fill an empty database with `rows` rows of half a year, and gather statistics."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET maintenance_work_mem = '256MB'; SET work_mem = '64MB'")
        connection.execute("ALTER TABLE jobs DISABLE TRIGGER USER")
        indexes = connection.execute(_INDEXES).fetchall()
        for name, _, constraint, _, table in indexes:
            connection.execute(_drop(name, constraint, table))
        connection.execute("SELECT setseed(0.5)")
        pause = _SPAN / rows
        connection.execute(_FILL, {"rows": rows, "pause": pause, "tenth": rows // 10})
        connection.execute(_FACETS)
        for _, definition, constraint, constraint_definition, table in indexes:
            if constraint is None:
                connection.execute(definition)
            else:
                connection.execute(
                    SQL("ALTER TABLE {} ADD CONSTRAINT {} " + constraint_definition).format(
                        Identifier(table), Identifier(constraint)
                    )
                )
        connection.execute("ALTER TABLE jobs ENABLE TRIGGER USER")
        connection.execute("SELECT recount_job_figures()")
        connection.execute("VACUUM (ANALYZE) jobs, job_facets, job_figures")


def _drop(name: str, constraint: str | None, table: str) -> Any:
    if constraint is None:
        return SQL("DROP INDEX {}").format(Identifier(name))
    return SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(
        Identifier(table), Identifier(constraint)
    )

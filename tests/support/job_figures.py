"""The figures of jobs, compared with a count of the jobs."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import psycopg

SUMMED = """
SELECT tenant, bin::text, kind, job_type, figure, detail, sum(n)::bigint
FROM (SELECT * FROM job_figures UNION ALL SELECT * FROM job_figure_changes) AS f
GROUP BY 1, 2, 3, 4, 5, 6 HAVING sum(n) <> 0 ORDER BY 1, 2, 3, 4, 5, 6
"""


def expect_figures(db: psycopg.Connection[tuple[Any, ...]]) -> None:
    """Expect that the figures equal what counting the table gives."""
    kept = db.execute(SUMMED).fetchall()
    with suppress(psycopg.Rollback), db.transaction():
        db.execute("SELECT recount_job_figures()")
        counted = db.execute(SUMMED).fetchall()
        raise psycopg.Rollback
    assert kept == counted

"""A column of `jobs` as the page on it adds it: a migration and one entry in a copy of the code."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from projections.rows.writer import JobRows
from sql.sessions import connect
from tests.docs.pages import blocks_of
from tests.extending.copied_code import CopiedCode
from tests.support.job_tables import event

END_OF_COLUMNS = ')\n"""All columns'


@pytest.fixture
def extended(tmp_path: Path, redis_url: str, database_url: str) -> CopiedCode:
    """A copy of the code with the migration and the entry of the page."""
    servers = {"JOBTRAIL_REDIS_URL": redis_url, "JOBTRAIL_DATABASE_URL": database_url}
    code = CopiedCode(tmp_path, servers)
    migration, entry = (block for block in blocks_of("extending/column.md") if block.title)
    (tmp_path / migration.title.replace("NNNN", "9999")).write_text(migration.text)
    code.insert(entry.title, END_OF_COLUMNS, f"    {entry.text.strip()},\n")
    return code


def test_column_of_the_page(extended: CopiedCode, database_url: str) -> None:
    rows = JobRows(lambda: connect(database_url, "test"))
    rows.apply([event("1-0", "progress", step="encode")])
    rows.close()

    extended.jobtrail("migrate")
    printed = extended.jobtrail("verify", "rows", status=1)
    assert "42 job a1 step: served null, folded encode" in printed
    extended.jobtrail("replay", "rows", "--reset")
    with psycopg.connect(database_url, autocommit=True) as connection:
        assert connection.execute("SELECT id, step FROM jobs").fetchall() == [("a1", "encode")]
        # Repaired without a reset: the writer of consumers inserts it, too.
        connection.execute("DELETE FROM jobs")
        extended.jobtrail("replay", "rows")
        assert connection.execute("SELECT id, step FROM jobs").fetchall() == [("a1", "encode")]
    extended.jobtrail("verify", "rows")

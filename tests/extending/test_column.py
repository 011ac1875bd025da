"""A column of `jobs` as the page on it adds it: a migration and one entry in a copy of the code."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from projections.rows.writer import JobRows
from sql.sessions import connect
from tests.docs.pages import ROOT, blocks_of
from tests.support.job_tables import event

PACKAGES = ("streams", "sql", "projections", "consumers", "api", "workers", "ops")
END = ')\n"""All columns'

Jobtrail = tuple[Path, dict[str, str]]
"""A folder with the code, and the environment to run it in."""


@pytest.fixture
def extended(tmp_path: Path, redis_url: str, database_url: str) -> Jobtrail:
    """A copy of the code with the migration and the entry of the page."""
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__", "node_modules")
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignored)
    shutil.copy(ROOT / "jobtrail_command.py", tmp_path)
    migration, entry = (block for block in blocks_of("extending/column.md") if block.title)
    (tmp_path / migration.title.replace("NNNN", "9999")).write_text(migration.text)
    columns = tmp_path / entry.title
    text = columns.read_text()
    assert END in text
    columns.write_text(text.replace(END, f"    {entry.text.strip()}\n{END}"))
    servers = {"JOBTRAIL_REDIS_URL": redis_url, "JOBTRAIL_DATABASE_URL": database_url}
    return tmp_path, {**os.environ, **servers, "PYTHONPATH": str(tmp_path)}


def run(jobtrail: Jobtrail, *words: str, status: int = 0) -> str:
    """Run a command, and return its output."""
    folder, environ = jobtrail
    done = subprocess.run(
        [sys.executable, "-m", "ops", *words],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def test_column_of_the_page(extended: Jobtrail, database_url: str) -> None:
    rows = JobRows(lambda: connect(database_url, "test"))
    rows.apply([event("1-0", "progress", step="encode")])
    rows.close()

    run(extended, "migrate")
    printed = run(extended, "verify", "rows", status=1)
    assert "42 job a1 step: served null, folded encode" in printed
    run(extended, "replay", "rows", "--reset")
    with psycopg.connect(database_url, autocommit=True) as connection:
        assert connection.execute("SELECT id, step FROM jobs").fetchall() == [("a1", "encode")]
        # Repaired without a reset: the writer of consumers inserts it, too.
        connection.execute("DELETE FROM jobs")
        run(extended, "replay", "rows")
        assert connection.execute("SELECT id, step FROM jobs").fetchall() == [("a1", "encode")]
    run(extended, "verify", "rows")

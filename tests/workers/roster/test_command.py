"""`jobtrail roster import`: its output, which never contains the password."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

import orjson
import psycopg
import pytest
import redis

from tests.pipeline.conftest import environ
from tests.support import forked
from tests.support.workbooks import KOREAN, phone, roster, student, with_openpyxl

SECRET = "s3cret-word"


def run(
    *words: str | Path, settings: Mapping[str, str], variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    done = forked.run(
        ["roster", "import", *map(str, words)], {**environ(settings), **(variables or {})}
    )
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


def line_of(failed: subprocess.CompletedProcess[str]) -> str:
    """Return the only line on standard error of a command that failed."""
    assert failed.returncode == 1, failed.stdout
    [line] = failed.stderr.splitlines()
    return line


def test_import__prints_counts_and_failures(servers: dict[str, str], tmp_path: Path) -> None:
    rows = [KOREAN, student(1), ["[bold]김", "1"]]
    done = run(
        with_openpyxl(tmp_path / "a.xlsx", rows), "--tenant", "1",
        settings=servers, variables={"JOBTRAIL_ROSTER_PASSWORD": SECRET},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("job ")
    assert "2 rows: 1 created, 0 restored, 0 skipped, 1 failed" in done.stdout
    assert "[bold]김" in done.stdout


def test_import__json__id_attempt_and_the_exact_result(
    servers: dict[str, str], tmp_path: Path
) -> None:
    done = run(
        roster(tmp_path / "a.xlsx", 2), "--tenant", "1", "--id", "a1", "--attempt", "3", "--json",
        "--initial-password-env", "OUR_WORD",
        settings=servers, variables={"OUR_WORD": SECRET},
    )  # fmt: skip
    result = {"created": 2, "restored": 0, "skipped": 0, "failed": [], "total": 2}
    assert orjson.loads(done.stdout) == {"id": "a1", "attempt": 3, "result": result}


def test_import__password__is_in_no_event_row_or_output(
    servers: dict[str, str], redis_client: redis.Redis, tmp_path: Path
) -> None:
    path = roster(tmp_path / "a.xlsx", 2)
    done = run(
        path, "--tenant", "1", settings=servers, variables={"JOBTRAIL_ROSTER_PASSWORD": SECRET}
    )
    assert done.returncode == 0
    said = [done.stdout, done.stderr, str(redis_client.xrange("tenant:1:events"))]
    with psycopg.connect(servers["database_url"]) as connection:
        tables = "students users memberships parents".split()
        said += [str(connection.execute(f"SELECT * FROM roster.{t}").fetchall()) for t in tables]
    assert phone(1) in "".join(said)
    assert SECRET not in "".join(said)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--tenant", "1"), "read from JOBTRAIL_ROSTER_PASSWORD"),
        (("--tenant", "1", "--initial-password-env", "NO_SUCH"), "read from NO_SUCH"),
        (("--tenant", "a b"), "'a b' is no tenant"),
        (("--tenant", "1", "--id", "../x"), "'../x' is not a valid job id"),
    ],
)
def test_import__wrong_words__one_line(
    servers: dict[str, str], tmp_path: Path, words: tuple[str, ...], line: str
) -> None:
    assert line in line_of(run(roster(tmp_path / "a.xlsx", 1), *words, settings=servers))


@pytest.mark.parametrize(
    ("name", "reason"), [("no.xlsx", "does not exist"), (".", "is not a regular file")]
)
def test_import__no_such_file__one_line_and_no_job(
    servers: dict[str, str], redis_client: redis.Redis, tmp_path: Path, name: str, reason: str
) -> None:
    """The file comes first: nobody is asked for a password that helps nothing."""
    failed = run(tmp_path / name, "--tenant", "1", settings=servers)
    assert (failed.returncode, failed.stdout) == (2, "")
    [line] = failed.stderr.splitlines()
    assert reason in line
    assert redis_client.exists("tenant:1:events") == 0


def test_import__no_migrations__says_what_to_run(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA roster CASCADE")
    failed = run(
        roster(tmp_path / "a.xlsx", 1), "--tenant", "1",
        settings={"redis_url": redis_url, "database_url": database_url},
        variables={"JOBTRAIL_ROSTER_PASSWORD": SECRET},
    )  # fmt: skip
    assert line_of(failed).endswith("run jobtrail migrate")

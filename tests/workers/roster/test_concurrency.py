"""Concurrent imports and killed imports, as processes of the command."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import redis

from tests.pipeline.conftest import Start
from tests.support.rosters import Database, await_halt, counts, halted, harm
from tests.support.waiting import ENDING, eventually
from tests.support.workbooks import KOREAN, phone, roster, student, with_xlsxwriter

PASSWORD = {"roster_password": "first-1234"}


def importing(start: Start, servers: Mapping[str, str], path: Path, job_id: str) -> Any:
    """Start an import of tenant 1 that prints its result as JSON."""
    words = ("roster", "import", str(path), "--tenant", "1", "--id", job_id, "--json")
    return start(*words, **servers, **PASSWORD)


def result_of(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Wait for the end of an import, and return its result."""
    output, _ = process.communicate(timeout=ENDING)
    assert process.returncode == 0
    result: dict[str, Any] = orjson.loads(output)["result"]
    return result


def test_two_imports_of_the_same_file__each_student_once(
    start: Start, servers: dict[str, str], database: Database, tmp_path: Path
) -> None:
    path = roster(tmp_path / "a.xlsx", 1_500)
    # Both are let go from one place, so that they meet in the chunks behind it.
    with halted(servers["database_url"], "1", phone(100)):
        both = [importing(start, servers, path, job_id) for job_id in ("a1", "b1")]
        await_halt(database, imports=2)
    first, second = map(result_of, both)

    assert first["failed"] == second["failed"] == []
    assert first["created"] + second["created"] == 1_500
    assert first["skipped"] == second["created"]
    assert second["skipped"] == first["created"]
    assert counts(database) == (1_500,) * 4
    assert harm(database) == []


def test_two_imports_of_the_same_file_under_the_same_id__both_count_all(
    start: Start, servers: dict[str, str], database: Database, tmp_path: Path
) -> None:
    """A queue may deliver one job to two workers."""
    path = roster(tmp_path / "a.xlsx", 700)
    with halted(servers["database_url"], "1", phone(100)):
        both = [importing(start, servers, path, "a1") for _ in range(2)]
        await_halt(database, imports=2)
    results = list(map(result_of, both))

    assert [result["created"] for result in results] == [700, 700]
    assert counts(database) == (700,) * 4
    assert harm(database) == []


def test_two_imports_of_overlapping_files_in_opposite_order__no_deadlock(
    start: Start, servers: dict[str, str], database: Database, tmp_path: Path
) -> None:
    """They share 1,000 students; both restore the 200 deleted ones among them."""
    old = importing(start, servers, roster(tmp_path / "old.xlsx", 200, first=900), "old")
    assert result_of(old)["created"] == 200
    database.execute("UPDATE roster.students SET deleted_at = now()")
    up = [student(number) for number in range(1_500)]
    down = [student(number) for number in reversed(range(500, 2_000))]
    paths = [
        with_xlsxwriter(tmp_path / f"{name}.xlsx", [KOREAN, *rows])
        for name, rows in (("up", up), ("down", down))
    ]
    with (
        halted(servers["database_url"], "1", phone(0)),
        halted(servers["database_url"], "1", phone(1_999)),
    ):
        both = [importing(start, servers, path, path.stem) for path in paths]
        await_halt(database, imports=2)
    results = [result_of(process) for process in both]

    total = {
        name: sum(result[name] for result in results)
        for name in ("created", "restored", "skipped", "total")
    }
    assert [result["failed"] for result in results] == [[], []]
    assert total == {"created": 1_800, "restored": 200, "skipped": 1_000, "total": 3_000}
    assert counts(database) == (2_000,) * 4
    assert harm(database) == []


def test_import_killed_in_the_middle__the_same_id_goes_on_and_counts_exactly(
    start: Start,
    servers: dict[str, str],
    database: Database,
    redis_client: redis.Redis,
    tmp_path: Path,
) -> None:
    path = roster(tmp_path / "a.xlsx", 1_000)
    with halted(servers["database_url"], "1", phone(500)):
        killed = importing(start, servers, path, "a1")
        await_halt(database)
        killed.kill()
        killed.wait()
    eventually(lambda: counts(database) == (400,) * 4)  # two chunks, and no half of the third

    assert result_of(importing(start, servers, path, "a1")) == {
        "created": 1_000, "restored": 0, "skipped": 0, "failed": [], "total": 1_000
    }  # fmt: skip
    assert counts(database) == (1_000,) * 4
    assert harm(database) == []
    ends = [event for event in _events(redis_client) if event["type"] == "done"]
    assert [(event["attempt"], event["job_type"]) for event in ends] == [(1, "excel")]


def test_import_that_ended__run_again__is_the_next_attempt(
    start: Start, servers: dict[str, str], redis_client: redis.Redis, tmp_path: Path
) -> None:
    start("consume", "status", **servers)
    path = roster(tmp_path / "a.xlsx", 3)
    first = result_of(importing(start, servers, path, "a1"))
    eventually(lambda: b'"DONE"' in (redis_client.get("tenant:1:job:a1:status") or b""))

    assert result_of(importing(start, servers, path, "a1")) == first
    ends = [event["attempt"] for event in _events(redis_client) if event["type"] == "done"]
    assert ends == [1, 2]


def test_import_cancelled__says_so_and_leaves_whole_chunks(
    start: Start,
    servers: dict[str, str],
    database: Database,
    redis_client: redis.Redis,
    tmp_path: Path,
) -> None:
    path = roster(tmp_path / "a.xlsx", 600)
    with halted(servers["database_url"], "1", phone(500)):
        process = importing(start, servers, path, "a1")
        await_halt(database)
        process.terminate()
        assert process.wait(ENDING) == 1
    assert _events(redis_client)[-1]["type"] == "cancelled"
    eventually(lambda: counts(database) == (400,) * 4)
    assert harm(database) == []


def _events(client: redis.Redis) -> list[dict[str, Any]]:
    found: Any = client.xrange("tenant:1:events")
    return [orjson.loads(fields[b"event"]) for _, fields in found]

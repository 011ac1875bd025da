"""The progress and result of an import, read through the pipeline and the API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from tests.pipeline.conftest import Start
from tests.support.rosters import Database, await_halt, halted
from tests.support.waiting import eventually
from tests.support.workbooks import phone, roster

ME = {"X-Tenant-ID": "1"}


def test_import__progress_is_seen_while_it_runs_and_the_result_in_the_end(
    start: Start, servers: dict[str, str], database: Database, tmp_path: Path
) -> None:
    for group in ("status", "rows"):
        start("consume", group, **servers)
    serving: Any = start("api", **servers, auth="dev", api_port="0")
    api = serving.stdout.readline().decode().removeprefix("api: ").strip()
    path = roster(tmp_path / "a.xlsx", 5_000)

    def answer() -> dict[str, Any]:
        got = httpx.get(f"{api}/api/v1/jobs/a1/progress/", headers=ME)
        assert got.status_code == 200
        found: dict[str, Any] = got.json()
        return found

    def at(percent: float) -> bool:
        told = answer()["progress"]
        return told is not None and told["percent"] == percent

    words = ("roster", "import", str(path), "--tenant", "1", "--id", "a1", "--json")
    url = servers["database_url"]
    with halted(url, "1", phone(3_000)):
        with halted(url, "1", phone(1_000)):
            start(*words, **servers, roster_password="first-1234")
            await_halt(database)
            eventually(lambda: at(28))
            early = answer()
        eventually(lambda: at(64), timeout=60)
    eventually(lambda: answer()["status"] == "DONE", timeout=60)

    assert early["status"] == "PROCESSING"
    assert early["job_type"] == "excel"
    told = early["progress"]
    assert (told["step"], told["step_name_display"]) == ("saving", "저장")
    assert (told["step_index"], told["step_total"], told["step_percent"]) == (3, 3, 20)
    assert (told["row"], told["total"], told["sheet"]) == (1_000, 5_000, "명부")
    assert answer()["result"] == {
        "created": 5_000, "restored": 0, "skipped": 0, "failed": [], "total": 5_000
    }  # fmt: skip

"""Everything that reaches PostgreSQL, at work at once on one database: the battery.

Processes of both consumers and the API under load; then every command that reads or writes there.
"""

from __future__ import annotations

import io
import itertools
import json
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import psycopg
import pytest

from jobtrail_command import main
from streams.appender import EventAppender
from streams.connection import connect
from tests.pipeline.conftest import Start, environ
from tests.support.waiting import eventually
from tests.support.workbooks import KOREAN, student, with_openpyxl

TENANTS = ("학원".encode().hex(), "42", "other")
JOBS = 120
TEAM = "수학"
ERROR = "파일을 읽지 못했습니다 — ẞ€😀"
RESULT = {"이름": "김하늘", "note": "𝕏 — ½"}


def events() -> Iterator[tuple[str, dict[str, Any]]]:
    """Return events of several tenants, with text that only UTF-8 holds."""
    for number, tenant in itertools.product(range(JOBS), TENANTS):
        one = {"id": f"j{number}", "job_type": "excel", "labels": {"team": TEAM}}
        yield tenant, {"type": "processing", **one}
        yield tenant, {"type": "progress", "percent": 40, "step_name_display": "저장", **one}
        if number % 3:
            yield tenant, {"type": "done", "result": RESULT, **one}
        else:
            yield tenant, {"type": "failed", "error": ERROR, **one}


class Battery:
    """The processes and commands of one deployment.

    Args:
        through: the database's URL that they get.
        directly: one for looking at what they did, past a pooler.
        api_url: another one for the API.
    """

    def __init__(
        self,
        start: Start,
        redis_url: str,
        through: str,
        directly: str,
        *,
        api_url: str | None = None,
        shell: Mapping[str, str] | None = None,
    ) -> None:
        self._start = start
        self._redis_url = redis_url
        self._directly = directly
        self._shell = dict(shell or {})
        self._settings = {
            "redis_url": redis_url,
            "database_url": through,
            "history_keep_days": "365",
            "stalled_after_seconds": "3600",
            "roster_password": "0000",
        }
        self._api_settings = {**self._settings, "database_url": api_url or through}

    def run(self, tmp_path: Path) -> None:
        """Run all of it, and assert that nothing is lost, wrong or refused."""
        with _environment(self._shell):
            api = self._start("api", auth="dev", api_port="0", **self._api_settings)
            for group in ("rows", "rows", "status"):
                self._start("consume", group, **self._settings)
        assert api.stdout is not None
        url = api.stdout.readline().decode().removeprefix("api: ").strip()
        with self._reading(url) as answers, connect(self._redis_url) as client:
            EventAppender(client).append_many(events())
            eventually(self._all_rows, 60, "all rows")
        assert answers
        assert set(answers) <= {200, 404}, sorted(set(answers))
        self._check_answers(url)
        self._commands(tmp_path)
        self._check_answers(url)

    def _all_rows(self) -> bool:
        statement = "SELECT count(*) FILTER (WHERE state IN ('done', 'failed')) FROM jobs"
        with psycopg.connect(self._directly) as connection:
            row = connection.execute(statement).fetchone()
        return row == (JOBS * len(TENANTS),)

    @contextmanager
    def _reading(self, url: str) -> Iterator[list[int]]:
        """Read everything again and again, tenants and the console at once."""
        stop, statuses = Event(), list[int]()

        def read(tenant: str) -> None:
            paths = [
                "/api/v1/jobs/?limit=5",
                f"/api/v1/jobs/?label.team={TEAM}&status=DONE",
                "/api/v1/jobs/j1/",
                "/api/v1/jobs/j1/history/",
                "/api/v1/ops/jobs/",
                f"/api/v1/ops/jobs/{tenant}/job/j1/history/",
            ]
            with httpx.Client(base_url=url, headers={"x-tenant-id": tenant}, timeout=30) as client:
                while not stop.is_set():
                    statuses.extend(client.get(path).status_code for path in paths)

        with ThreadPoolExecutor(len(TENANTS)) as readers:
            done = [readers.submit(read, tenant) for tenant in TENANTS]
            try:
                eventually(lambda: len(statuses) > len(TENANTS), 30, "the first answers")
                yield statuses
            finally:
                stop.set()
        for each in done:
            each.result()

    def _check_answers(self, url: str) -> None:
        for tenant in TENANTS:
            with httpx.Client(base_url=url, headers={"x-tenant-id": tenant}, timeout=30) as client:

                def ask(path: str, client: httpx.Client = client) -> Any:
                    answer = client.get(path)
                    assert answer.status_code == 200, (path, answer.text)
                    return answer.json()

                found = ask(f"/api/v1/jobs/?label.team={TEAM}&status=FAILED&limit=200")["items"]
                assert len(found) == JOBS // 3
                assert {item["error_message"] for item in found} == {ERROR}
                row = ask("/api/v1/jobs/j1/")
                assert (row["result"], row["labels"]) == (RESULT, {"team": TEAM})
                assert len(ask("/api/v1/jobs/j1/history/")["items"]) == 3
                since = ask(f"/api/v1/jobs/?updated_since={row['updated_at']}&limit=1")
                assert since["items"]
                for path in ("jobs/", f"jobs/{tenant}/job/j1/", "overview/"):
                    ask(f"/api/v1/ops/{path}")

    def _commands(self, tmp_path: Path) -> None:
        jobs = JOBS * len(TENANTS)
        assert self.command("verify", "rows") == f"verified {jobs} jobs\n"
        assert self.command("verify", "status") == f"verified {jobs} jobs\n"
        with psycopg.connect(self._directly, autocommit=True) as connection:
            connection.execute("DELETE FROM jobs WHERE id = 'j2'")
            self.command("replay", "rows")
            assert self._all_rows()
            connection.execute("UPDATE jobs SET job_type = 'wrong' WHERE id = 'j4'")
            self.command("replay", "rows", "--reset")
            assert "put back 3 rows" in self.command("replay", "rows", "--restore-old")
        self.command("replay", "rows", "--reset")
        self.command("replay", "rows", "--drop-old")
        self.command("replay", "status", "--reset")
        assert self.command("verify", "rows") == f"verified {jobs} jobs\n"
        # Redis of a test persists nothing, which the doctor says.
        checks = json.loads(self.command("doctor", "--json", checked=False))
        found = {each["check"]: each["ok"] for each in checks}
        assert {"postgres version", "migrations", "indexes", "reading roles"} <= found.keys()
        assert all(found[name] for name in ("migrations", "indexes", "reading roles"))
        workbook = with_openpyxl(tmp_path / "명단.xlsx", [KOREAN, student(7), student(8)])
        self.command("roster", "import", str(workbook), "--tenant", "42")
        with psycopg.connect(self._directly) as connection:
            row = connection.execute("SELECT array_agg(name ORDER BY name) FROM roster.students")
            assert row.fetchone() == (["학생7", "학생8"],)

    def command(self, *words: str, checked: bool = True) -> str:
        """Run a command in this process to its end, and return what it printed."""
        status, printed, complaint = run_here({**environ(self._settings), **self._shell}, words)
        assert status == 0 or not checked, (words, printed, complaint)
        return printed


def run_here(variables: Mapping[str, str], words: Sequence[str]) -> tuple[int, str, str]:
    """Run a command in this process, and return its status and what it printed and complained."""
    printed, complaint = io.StringIO(), io.StringIO()
    on_term = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", ["jobtrail", *words])
        with redirect_stdout(printed), redirect_stderr(complaint):
            try:
                main()
            except SystemExit as ended:
                status = int(ended.code or 0)
    signal.signal(signal.SIGTERM, on_term)
    assert "Traceback" not in complaint.getvalue()
    return status, printed.getvalue(), complaint.getvalue()


@contextmanager
def _environment(shell: Mapping[str, str]) -> Iterator[None]:
    """Set variables for the processes that are started meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in shell.items():
            patch.setenv(name, value)
        yield

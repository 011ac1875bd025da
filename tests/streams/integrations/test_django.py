"""Real workers of Django's tasks framework: however a task ends, its job ends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from ops.devstack import EmbeddedRedis
from streams.connection import connect
from tests.docs.pages import ROOT, example
from tests.support.job_ends import JobEnds
from tests.support.servers import server_folder
from tests.support.waiting import ENDING

PROGRAM = """
import sys, django
django.setup()
from tests.support.django_academy import main
main(sys.argv[1:])
"""

ENDS = {
    "import_rows": ("DONE", None),
    "work_on_a_loop": ("DONE", None),
    "break_down": ("FAILED", "LookupError"),
    "exit_early": ("FAILED", "SystemExit"),
    "be_killed": ("FAILED", "WorkerLost"),
}
"""The expected end of each task's job: its status and code."""


class Academy(JobEnds):
    """The jobs of the tasks, by the name of a task."""

    ids: Mapping[str, str]


def run_worker(environ: Mapping[str, str], *tasks: str) -> tuple[int, dict[str, str]]:
    """Let a process enqueue tasks and run them; return how it ended, and the ids."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *tasks],
        env=environ,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        timeout=ENDING,
    )
    return done.returncode, dict(line.split() for line in done.stdout.splitlines())


def write_project(folder: Path) -> None:
    (folder / "school").mkdir()
    (folder / "school" / "__init__.py").touch()
    for title in ("school/apps.py", "school/tasks.py"):
        (folder / title).write_text(example("integrations.md", title).text)


@pytest.fixture(scope="module")
def academy() -> Iterator[Academy]:
    """A worker that was killed by its last task, and the one that was started after it."""
    with ExitStack() as stack:
        folder = stack.enter_context(server_folder())
        server = stack.enter_context(EmbeddedRedis(folder / "redis", persist=False))
        client = stack.enter_context(connect(server.url))
        write_project(folder)
        environ = os.environ | {
            "ACADEMY_FOLDER": str(folder),
            "DJANGO_SETTINGS_MODULE": "tests.support.django_settings",
            "JOBTRAIL_REDIS_URL": server.url,
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)]),
            "TMPDIR": str(folder),
        }
        academy = Academy(client)
        killed, academy.ids = run_worker(environ, *ENDS)
        assert killed < 0
        assert academy.status(academy.ids["be_killed"])["status"] == "PROCESSING"
        assert run_worker(environ) == (0, {})
        assert not client.exists("tenant:8:events")  # of a transaction that was not committed
        yield academy


def test_however_a_task_ends__its_job_ends(academy: Academy) -> None:
    found = {}
    for name in ENDS:
        status = academy.ended(academy.ids[name])
        found[name] = (status["status"], status.get("code"))
        assert (status["job_type"], status["attempt"]) == (name, 1)
    assert found == ENDS


def test_the_signals_of_a_task_are_events(academy: Academy) -> None:
    """The last progress of a coroutine is sent before the end, too."""
    for name in ("import_rows", "work_on_a_loop"):
        events = academy.events(academy.ids[name])
        assert [event["type"] for event in events] == [
            "queued",
            "processing",
            "progress",
            "progress",
            "done",
        ]
        assert events[-2]["percent"] in (50, 90)


def test_what_a_task_returns_or_raises_is_its_end(academy: Academy) -> None:
    ends = {name: academy.ended(academy.ids[name]) for name in ENDS}
    assert ends["import_rows"]["result"] == {"rows": 2}
    assert ends["work_on_a_loop"]["result"] == {"value": True}
    assert ends["break_down"]["error_message"] == "no answer key"

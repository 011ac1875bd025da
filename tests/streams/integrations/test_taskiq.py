"""A real Taskiq worker on a real Redis: however a task ends, its job ends."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import pytest
import redis
from taskiq.kicker import AsyncKicker
from taskiq_redis import RedisStreamBroker

from ops.devstack import EmbeddedRedis
from streams.async_reporter import AsyncReporter
from streams.connection import connect
from streams.integrations.taskiq import report_tasks
from tests.docs.pages import ROOT, example
from tests.support.job_ends import JobEnds
from tests.support.processes import runs
from tests.support.servers import server_folder
from tests.support.waiting import eventually

URL = "redis://127.0.0.1:6379/0"
WORKER = "-m taskiq worker tests.support.taskiq_academy:broker -w 1 --log-level WARNING".split()

RETRIED = {"retry_on_error": True}
LABELS: Mapping[str, Mapping[str, Any]] = {
    "need_two_tries": RETRIED,
    "break_down_each_time": RETRIED,
    "take_too_long": {"timeout": 0.2},
}
"""Labels of tasks, which their sender chooses."""

ENDS = {
    "import_rows": ("DONE", 1, None),
    "grade": ("DONE", 1, None),
    "grade_in_a_thread": ("DONE", 1, None),
    "break_down": ("FAILED", 1, "LookupError"),
    "break_down_each_time": ("FAILED", 3, "LookupError"),
    "need_two_tries": ("DONE", 2, None),
    "queue_again": ("DONE", 2, None),
    "reject": ("FAILED", 1, "Reject"),
    "take_too_long": ("FAILED", 1, "TimeoutError"),
    "be_cancelled": ("CANCELLED", 1, None),
    "be_killed": ("DONE", 1, None),
}
"""The expected end of each task's job: its status, attempt and code."""


class Academy:
    """Sends tasks as an application does, each with its name as the id."""

    def __init__(self, url: str, jobs: JobEnds) -> None:
        self.url = url
        self.jobs = jobs

    def send(self, *names: str, task_id: str | None = None, tenant: int | None = 7) -> None:
        asyncio.run(self._send(names, task_id, tenant))

    async def _send(self, names: tuple[str, ...], task_id: str | None, tenant: int | None) -> None:
        broker = RedisStreamBroker(self.url)
        async with AsyncReporter.from_url(self.url) as reporter:
            report_tasks(broker)
            stop = report_tasks(broker, through=reporter)  # in place of the first
            await broker.startup()
            for name in names:
                labels = dict(LABELS.get(name, {}))
                kicker: AsyncKicker[..., Any] = AsyncKicker(name, broker, labels)
                arguments = {"rows": 2} if name == "import_rows" else {}
                await kicker.with_task_id(task_id or name).kiq(tenant_id=tenant, **arguments)
            await broker.shutdown()
            stop()


def let_idle_timeout_pass(client: redis.Redis) -> None:
    """Make the only message that is pending older than the broker's `idle_timeout`."""
    (pending,) = client.xpending_range("taskiq", "taskiq", "-", "+", 9)
    client.xclaim("taskiq", "taskiq", "killed", 0, [pending["message_id"]], idle=600_001)


@pytest.fixture(scope="module")
def academy() -> Iterator[Academy]:
    """A worker that was killed by its first task and has received one task of each other kind."""
    with ExitStack() as stack:
        folder = stack.enter_context(server_folder())
        server = stack.enter_context(EmbeddedRedis(folder, persist=False))
        page = example("integrations.md", "taskiq_tasks.py").text
        (folder / "taskiq_tasks.py").write_text(page.replace(URL, server.url))
        environ = os.environ | {
            "JOBTRAIL_REDIS_URL": server.url,
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)]),
        }
        client = stack.enter_context(connect(server.url))
        academy = Academy(server.url, JobEnds(client))
        academy.send("be_killed")
        worker = subprocess.Popen([sys.executable, *WORKER], env=environ, cwd=ROOT)
        try:
            killed = int(eventually(lambda: client.get("killed"), 60))
            eventually(lambda: not runs(killed))
            let_idle_timeout_pass(client)
            academy.send(*(name for name in ENDS if name != "be_killed"))
            yield academy
        finally:
            worker.terminate()
            worker.wait()


@pytest.mark.parametrize("task", ENDS)
def test_however_a_task_ends__its_job_ends(academy: Academy, task: str) -> None:
    status = academy.jobs.ended(task, ENDS[task][1])
    assert (status["status"], status["attempt"], status.get("code")) == ENDS[task]
    assert status["job_type"] == task


def test_what_a_task_returns_is_the_result(academy: Academy) -> None:
    assert academy.jobs.ended("grade")["result"] == {"sheets": 3}
    assert academy.jobs.ended("grade_in_a_thread")["result"] == {"value": True}


def test_the_last_progress_of_a_task_comes_before_its_end(academy: Academy) -> None:
    for task in ("grade", "grade_in_a_thread"):
        academy.jobs.ended(task)
        events = academy.jobs.events(task)
        assert [event["type"] for event in events][:2] == ["queued", "processing"]
        assert [event["type"] for event in events][-2:] == ["progress", "done"]
        assert events[-2]["percent"] >= 90


def test_a_task_whose_worker_was_killed_runs_again(academy: Academy) -> None:
    """Taskiq looks for such tasks when others arrive."""
    academy.jobs.ended("be_killed")
    types = [event["type"] for event in academy.jobs.events("be_killed")]
    assert types == ["queued", "processing", "processing", "done"]


def test_a_task_that_is_sent_again_after_its_end_is_a_new_attempt(academy: Academy) -> None:
    academy.jobs.ended("break_down")
    academy.send("grade", task_id="break_down")
    assert academy.jobs.ended("break_down", attempt=2)["status"] == "DONE"


def test_tasks_of_no_tenant_are_not_reported(academy: Academy) -> None:
    academy.send("grade", task_id="of nobody", tenant=None)
    academy.send("grade", task_id="afterwards")
    academy.jobs.ended("afterwards")
    assert academy.jobs.events("of nobody") == []

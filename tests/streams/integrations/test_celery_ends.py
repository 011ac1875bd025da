"""A real Celery worker with real processes: however a task ends, its job ends.

On the installed Celery, and on the oldest that we support where `JOBTRAIL_TEST_OLDEST_CELERY` names
a folder that it was installed into (`pip install --target`); `.ci/run` does that.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from celery import Celery

from ops.devstack import EmbeddedRedis
from streams.connection import connect
from tests.support.job_ends import JobEnds
from tests.support.servers import server_folder

TREE = Path(__file__).parents[3]
OLDEST = "JOBTRAIL_TEST_OLDEST_CELERY"
WORKER = "-m celery -A tests.support.celery_academy worker --pool prefork -c 2 -l warning".split()
SEND = """
import sys
from tests.support.celery_academy import app
for name in sys.argv[1:]:
    app.send_task(name, kwargs={"tenant_id": 7}, task_id=name)
app.send_task("grade", kwargs={"tenant_id": 7}, task_id="expired", expires=-1)
"""

ENDS = {
    "be_killed": ("FAILED", 1, "WorkerLostError"),
    "be_terminated": ("FAILED", 1, "WorkerLostError"),
    "be_killed_in_a_retry": ("FAILED", 2, "WorkerLostError"),
    "be_killed_and_run_again": ("DONE", 1, None),
    "take_too_long": ("FAILED", 1, "TimeLimitExceeded"),
    "exit_early": ("FAILED", 1, "SystemExit"),
    "raise_unprintable": ("FAILED", 1, "Unprintable"),
    "reject": ("FAILED", 1, "Reject"),
    "no_such_task": ("FAILED", 1, "NotRegistered"),
    "ignore": ("CANCELLED", 1, None),
    "expired": ("CANCELLED", 1, None),
    "return_a_set": ("DONE", 1, None),
    "grade": ("DONE", 1, None),
}
"""The expected end of each task's job: its status, attempt and code."""


@dataclass
class Academy:
    """A worker, an application that sends tasks to it, and the jobs of the tasks."""

    worker: subprocess.Popen[bytes]
    app: Celery
    jobs: JobEnds

    def begin(self, name: str, task_id: str) -> None:
        """Send a task, and wait until it runs."""
        self.app.send_task(name, kwargs={"tenant_id": 7}, task_id=task_id)
        self.jobs.reached(task_id, "PROCESSING")


@pytest.fixture(
    scope="module",
    params=["installed", pytest.param("oldest", marks=pytest.mark.thorough)],
)
def academy(request: pytest.FixtureRequest) -> Iterator[Academy]:
    """A worker that has received one task of each kind."""
    folders = [str(TREE)]
    if request.param == "oldest":
        if OLDEST not in os.environ:
            pytest.skip(f"{OLDEST} names no folder with the oldest Celery")
        folders.insert(0, os.environ[OLDEST])
    with ExitStack() as stack:
        folder = stack.enter_context(server_folder())
        server = stack.enter_context(EmbeddedRedis(folder, persist=False))
        environ = os.environ | {
            "ACADEMY_REDIS_URL": server.url,
            "PYTHONPATH": os.pathsep.join(folders),
            "C_FORCE_ROOT": "1",
        }
        tasks = [name for name in ENDS if name != "expired"]
        subprocess.run([sys.executable, "-c", SEND, *tasks], check=True, env=environ, cwd=TREE)
        worker = subprocess.Popen(
            [sys.executable, *WORKER],
            env=environ,
            cwd=TREE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        client = stack.enter_context(connect(server.url))
        try:
            yield Academy(worker, Celery("academy", broker=server.url), JobEnds(client))
        finally:
            worker.terminate()
            worker.wait()


@pytest.mark.parametrize("task", ENDS)
def test_however_a_task_ends__its_job_ends(academy: Academy, task: str) -> None:
    status = academy.jobs.ended(task)
    assert (status["status"], status["attempt"], status.get("code")) == ENDS[task]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGQUIT", "SIGKILL"])
def test_a_running_task_that_is_revoked_and_terminated_is_cancelled(
    academy: Academy, name: str
) -> None:
    task = f"terminated_{name}"
    academy.begin("wait", task)
    academy.app.control.revoke(task, terminate=True, signal=name)
    assert academy.jobs.ended(task)["status"] == "CANCELLED"
    # The process of the pool that ended reports nothing after it.
    academy.app.send_task("grade", kwargs={"tenant_id": 7}, task_id=f"after_{name}")
    academy.jobs.ended(f"after_{name}")
    ends = [event["type"] for event in academy.jobs.events(task)]
    assert sorted(ends) == ["cancelled", "processing"]


def test_a_cold_shutdown_ends_the_jobs_whose_messages_do_not_come_back(academy: Academy) -> None:
    academy.begin("wait", "lost")
    academy.begin("wait_with_late_ack", "kept")
    academy.worker.send_signal(signal.SIGQUIT)
    academy.worker.wait()
    lost, kept = academy.jobs.status("lost"), academy.jobs.status("kept")
    assert (lost["status"], lost["code"]) == ("FAILED", "WorkerShutdown")
    assert kept["status"] == "PROCESSING"

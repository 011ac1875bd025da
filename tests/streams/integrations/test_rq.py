"""Real RQ workers with their work-horses: however a job of RQ ends, its job ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from rq import Queue, Repeat, Retry
from rq.command import send_stop_job_command
from rq.job import Job

from ops.devstack import EmbeddedRedis
from streams.compat.bridge import Bridge
from streams.connection import connect
from streams.integrations.rq import report_tasks
from tests.docs.pages import example
from tests.support.job_ends import JobEnds
from tests.support.processes import signal_all
from tests.support.servers import server_folder
from tests.support.waiting import ENDING

TREE = Path(__file__).parents[3]
RQ = Path(sys.executable).parent / "rq"
ACADEMY = "tests.support.rq_academy"
TENANT = {"tenant_id": 7}

JOBS: dict[str, dict[str, Any]] = {
    "grade": {},
    "break_down": {},
    "need_two_tries": {"retry": Retry(max=1)},
    "need_a_later_try": {"f": "need_two_tries", "retry": Retry(max=1, interval=1)},
    "return_a_retry": {"kwargs": TENANT | {"tries": 1}},
    "return_two_retries": {"f": "return_a_retry", "kwargs": TENANT | {"tries": 2}},
    "be_killed": {},
    "be_killed_twice": {"f": "be_killed", "retry": Retry(max=1)},
    "take_too_long": {"job_timeout": 1},
    "exit_early": {},
    "raise_unprintable": {},
    "repeat": {"f": "grade", "repeat": Repeat(times=1, interval=0)},
    "depend": {"f": "grade", "depends_on": "grade"},
    "cancel": {"f": "grade"},
    "delete": {"f": "grade"},
}
ENDS = {
    "grade": ("DONE", 1, None),
    "break_down": ("FAILED", 1, "LookupError"),
    "need_two_tries": ("DONE", 2, None),
    "need_a_later_try": ("DONE", 2, None),
    "return_a_retry": ("DONE", 2, None),
    "return_two_retries": ("FAILED", 2, "MaxRetriesExceeded"),
    "be_killed": ("FAILED", 1, "Killed"),
    "be_killed_twice": ("FAILED", 2, "Killed"),
    "take_too_long": ("FAILED", 1, "JobTimeoutException"),
    "exit_early": ("FAILED", 1, "SystemExit"),
    "raise_unprintable": ("FAILED", 1, "Unprintable"),
    "repeat": ("DONE", 2, None),
    "depend": ("DONE", 1, None),
    "cancel": ("CANCELLED", 1, None),
    "delete": ("CANCELLED", 1, None),
    "import": ("DONE", 1, None),
    "later": ("DONE", 1, None),
}
"""The expected end of each job: its status, attempt and code."""


class Academy(JobEnds):
    """A queue, and the worker that the page describes."""

    def __init__(self, client: redis.Redis, url: str, folder: Path) -> None:
        super().__init__(client)
        self.queue = Queue(connection=client)
        self._folder = folder
        self._environ = os.environ | {
            "JOBTRAIL_REDIS_URL": url,
            "RQ_REDIS_URL": url,
            "PYTHONPATH": str(TREE),
        }
        self._worker: subprocess.Popen[bytes] | None = None

    def send(self, job: str, *, f: str = "", kwargs: Any = None, **options: Any) -> Job:
        f = f"{ACADEMY}.{f or job}"
        return self.queue.enqueue(f, kwargs=kwargs or TENANT, job_id=job, **options)

    def start(self) -> None:
        with (self._folder / "worker.log").open("ab") as log:
            self._worker = subprocess.Popen(
                [str(RQ), "worker", "-c", "rq_settings", "--with-scheduler"],
                env=self._environ,
                cwd=self._folder,
                stdout=log,
                stderr=log,
            )

    def end(self, number: signal.Signals) -> None:
        """Send a signal to the worker and its work-horse, as with SIGKILL a loss of power."""
        if self._worker is not None:
            signal_all(self._worker.pid, number)
            self._worker.wait(ENDING)


@pytest.fixture(scope="module")
def academy() -> Iterator[Academy]:
    """A worker that has received one job of each kind."""
    with ExitStack() as stack:
        folder = stack.enter_context(server_folder())
        for title in ("rq_settings.py", "rq_tasks.py"):
            (folder / title).write_text(example("integrations.md", title).text)
        server = stack.enter_context(EmbeddedRedis(folder / "redis", persist=False))
        client = stack.enter_context(connect(server.url))
        stack.callback(report_tasks(through=Bridge(client)))
        academy = Academy(client, server.url, folder)
        jobs = {job: academy.send(job, **options) for job, options in JOBS.items()}
        academy.queue.enqueue("rq_tasks.import_rows", **TENANT, rows=3, job_id="import")
        in_a_second = timedelta(seconds=1)
        academy.queue.enqueue_in(in_a_second, f"{ACADEMY}.grade", **TENANT, job_id="later")
        jobs["cancel"].cancel()
        jobs["delete"].delete()
        assert academy.status("depend")["status"] == "PENDING"
        academy.start()
        stack.callback(academy.end, signal.SIGTERM)
        yield academy


@pytest.mark.parametrize("job", ENDS)
def test_however_a_job_ends__its_job_ends(academy: Academy, job: str) -> None:
    status = academy.ended(job, ENDS[job][1])
    assert (status["status"], status["attempt"], status.get("code")) == ENDS[job]


def test_progress_is_reported_by_the_current_job(academy: Academy) -> None:
    academy.ended("import")
    progress = [each for each in academy.events("import") if each["type"] == "progress"]
    assert progress[0]["step"] == "importing"


def test_runs_of_a_job_that_repeats_end_once_each(academy: Academy) -> None:
    academy.ended("repeat", 2)
    events = [(each["type"], each["attempt"]) for each in academy.events("repeat")]
    one = [("queued", 1), ("processing", 1), ("done", 1)]
    assert events == [*one, ("queued", 2), ("processing", 2), ("done", 2)]


def test_a_job_that_is_requeued_is_a_new_attempt(academy: Academy) -> None:
    academy.ended("break_down")
    Job.fetch("break_down", academy.queue.connection).requeue()
    assert academy.ended("break_down", 2)["status"] == "FAILED"


def test_a_job_that_is_stopped_is_cancelled(academy: Academy) -> None:
    job = academy.send("stop", f="take_too_long")
    academy.reached("stop", "PROCESSING")
    send_stop_job_command(academy.queue.connection, job.id)
    assert academy.ended("stop")["status"] == "CANCELLED"


def test_a_job_whose_worker_was_killed_has_failed(academy: Academy) -> None:
    """RQ's lease of a running job, of 60 to 90 seconds, is ended by hand."""
    academy.send("lose", f="take_too_long")
    academy.reached("lose", "PROCESSING")
    academy.end(signal.SIGKILL)
    registry = academy.queue.started_job_registry
    assert registry.connection.zadd(registry.key, dict.fromkeys(lease(academy), 1), xx=True) == 0
    academy.start()
    status = academy.ended("lose")
    assert (status["status"], status["code"]) == ("FAILED", "AbandonedJobError")


def lease(academy: Academy) -> list[bytes]:
    found: Any = academy.queue.connection.zrange(academy.queue.started_job_registry.key, 0, -1)
    assert len(found) == 1
    return list(found)

"""A real Celery worker with real processes: however a task ends, its job ends.

On the installed Celery, and on the oldest that we support where `JOBTRAIL_TEST_OLDEST_CELERY` names
a folder that it was installed into (`pip install --target`); `.ci/run` does that.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis

from ops.devstack import EmbeddedRedis
from projections.decoding import decode
from projections.status.writer import StatusCache
from streams.connection import connect
from streams.entry_ids import of_reply
from tests.support.servers import server_folder
from tests.support.waiting import eventually

TREE = Path(__file__).parents[3]
OLDEST = "JOBTRAIL_TEST_OLDEST_CELERY"
WORKER = "-m celery -A tests.support.celery_academy worker --pool prefork -c 1 -l warning".split()
SEND = """
import sys
from tests.support.celery_academy import app
for name in sys.argv[1:]:
    app.send_task(name, kwargs={"tenant_id": 7}, task_id=name)
app.send_task("grade", kwargs={"tenant_id": 7}, task_id="expired", expires=-1)
"""

ENDS = {
    "be_killed": ("FAILED", 1, "WorkerLostError"),
    "be_killed_in_a_retry": ("FAILED", 2, "WorkerLostError"),
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


class Academy:
    """Reads what the worker's tasks appended."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def status(self, job: str) -> dict[str, Any]:
        found: Any = self._client.xrange("tenant:7:events")
        StatusCache(self._client).apply(
            [decode("7", of_reply(at), [b"event", fields[b"event"]]) for at, fields in found]
        )
        raw: Any = self._client.get(f"tenant:7:job:{job}:status")
        status: dict[str, Any] = json.loads(raw or "{}")
        return status

    def ended(self, job: str) -> dict[str, Any]:
        """Wait for the end of a job."""

        def end() -> dict[str, Any] | None:
            status = self.status(job)
            return status if status.get("status") not in (None, "PENDING", "PROCESSING") else None

        return eventually(end, 120, f"the end of {job}")


@pytest.fixture(scope="module", params=["installed", "oldest"])
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
            yield Academy(client)
        finally:
            worker.terminate()
            worker.wait()


@pytest.mark.parametrize("task", ENDS)
def test_however_a_task_ends__its_job_ends(academy: Academy, task: str) -> None:
    status = academy.ended(task)
    assert (status["status"], status["attempt"], status.get("code")) == ENDS[task]

"""Real arq workers on a real Redis: however a job ends, it has ended for all readers.

On the installed arq, and on the newest where `JOBTRAIL_TEST_NEWEST_ARQ` names a folder that it was
installed into (`pip install --no-deps --target`), because it does not require the redis-py that the
worker's package requires; `.ci/run` does that.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import redis
from arq import create_pool
from arq.connections import ArqRedis, RedisSettings
from arq.jobs import Job

from ops.devstack import EmbeddedRedis
from streams.async_reporter import AsyncReporter
from streams.connection import connect
from streams.integrations.arq import report_tasks
from tests.docs.pages import ROOT, example
from tests.support.job_ends import JobEnds
from tests.support.servers import server_folder
from tests.support.waiting import ENDING, eventually

URL = "redis://127.0.0.1:6379/0"
NEWEST = "JOBTRAIL_TEST_NEWEST_ARQ"
WORKER = "-m arq tests.support.arq_academy.WorkerSettings".split()

ENDS = {
    "import_rows": ("DONE", 1, None),
    "break_down": ("FAILED", 1, "LookupError"),
    "need_two_tries": ("DONE", 2, None),
    "retry_too_often": ("FAILED", 3, "JobExecutionFailed"),
    "take_too_long": ("FAILED", 1, "TimeoutError"),
    "no_such_function": ("FAILED", 1, "JobExecutionFailed"),
    "be_aborted": ("CANCELLED", 1, None),
    "never_started": ("CANCELLED", 1, None),
    "be_killed": ("DONE", 2, None),
    "be_killed_twice": ("FAILED", 2, "JobExecutionFailed"),
    "be_stopped": ("DONE", 2, None),
}
"""The expected end of each function's job: its status, attempt and code."""


class Academy:
    """Enqueues jobs as an application does, each with its function's name as the id."""

    def __init__(self, url: str, client: redis.Redis, environ: Mapping[str, str]) -> None:
        self.jobs = JobEnds(client)
        self._client = client
        self._environ = environ
        self._url = url

    def send(self, *names: str, job_id: str | None = None, **options: Any) -> None:
        options = {"tenant_id": 7} | options

        async def send(pool: ArqRedis) -> None:
            for name in names:
                await pool.enqueue_job(name, _job_id=job_id or name, **options)

        asyncio.run(self._with_pool(send))

    def abort(self, job_id: str) -> None:
        """Abort a job, and wait until that is done."""

        async def abort(pool: ArqRedis) -> None:
            await Job(job_id, pool).abort(poll_delay=0.05)

        asyncio.run(self._with_pool(abort))

    @contextmanager
    def worker(self) -> Iterator[subprocess.Popen[bytes]]:
        """Start a worker, which ends with the block at the latest."""
        worker = subprocess.Popen([sys.executable, *WORKER], env=self._environ, cwd=ROOT)
        try:
            yield worker
        finally:
            eventually(lambda: _has_ended(worker), what="the end of a worker")

    def kill_with(self, name: str) -> None:
        """Let a job kill its worker, and let the time pass after which others may take it."""
        self.send(name)
        with self.worker() as worker:
            assert worker.wait(ENDING) == -signal.SIGKILL
        assert self.jobs.status(name)["status"] == "PROCESSING"
        seconds = self._client.ttl(f"arq:in-progress:{name}")
        assert 0 < seconds <= 310  # the job's timeout, and ten seconds
        self._client.delete(f"arq:in-progress:{name}")
        # The next worker leaves it alone until it is its turn.
        self._client.zadd("arq:queue", {name: 2**52})

    async def _with_pool(self, use: Callable[[ArqRedis], Awaitable[None]]) -> None:
        async with AsyncReporter.from_url(self._url) as reporter:
            stop = report_tasks(through=reporter)
            pool = await create_pool(RedisSettings.from_dsn(self._url))
            await use(pool)
            await pool.aclose()
            stop()


def _has_ended(worker: subprocess.Popen[bytes]) -> bool:
    # With redis-py 8, arq may miss a signal that it receives while it waits for Redis.
    worker.terminate()
    try:
        worker.wait(2)
    except subprocess.TimeoutExpired:
        return False
    return True


@pytest.fixture(scope="module", params=["installed", "newest"])
def academy(request: pytest.FixtureRequest) -> Iterator[Academy]:
    """Workers that were killed, one that was stopped, and one that has received all other jobs."""
    folders = [str(ROOT)]
    if request.param == "newest":
        if NEWEST not in os.environ:
            pytest.skip(f"{NEWEST} names no folder with the newest arq")
        folders.insert(0, os.environ[NEWEST])
    with ExitStack() as stack:
        folder = stack.enter_context(server_folder())
        server = stack.enter_context(EmbeddedRedis(folder, persist=False))
        client = stack.enter_context(connect(server.url))
        page = example("integrations.md", "arq_tasks.py").text
        (folder / "arq_tasks.py").write_text(page.replace(URL, server.url))
        folders.append(str(folder))
        environ = os.environ | {
            "JOBTRAIL_REDIS_URL": server.url,
            "PYTHONPATH": os.pathsep.join(folders),
        }
        academy = Academy(server.url, client, environ)
        academy.kill_with("be_killed")
        academy.kill_with("be_killed_twice")
        academy.send("be_stopped")
        with academy.worker():
            academy.jobs.reached("be_stopped", "PROCESSING")
        client.zadd("arq:queue", dict.fromkeys(("be_killed", "be_killed_twice"), 1))
        academy.send("import_rows", job_id="never_started", rows=1, _defer_by=600)
        # What `Job.abort` does; without a worker, so that none can take the job in between.
        client.zadd("arq:abort", {"never_started": int(time.time() * 1000)})
        client.zadd("arq:queue", {"never_started": 1})
        rest = [name for name in ENDS if client.zscore("arq:queue", name) is None]
        rest.remove("import_rows")
        academy.send(*rest)
        academy.send("import_rows", rows=2)
        with academy.worker():
            yield academy


def test_however_a_job_ends__it_has_ended_for_all_readers(academy: Academy) -> None:
    academy.jobs.reached("be_aborted", "PROCESSING")
    academy.abort("be_aborted")
    found = {}
    for name, (_, attempt, _) in ENDS.items():
        status = academy.jobs.ended(name, attempt)
        found[name] = (status["status"], status["attempt"], status.get("code"))
    assert found == ENDS


def test_what_a_function_returns_is_the_result(academy: Academy) -> None:
    status = academy.jobs.ended("import_rows")
    assert (status["job_type"], status["result"]) == ("import_rows", {"rows": 2})
    events = academy.jobs.events("import_rows")
    assert [event["type"] for event in events] == [
        "queued",
        "processing",
        "progress",
        "progress",
        "done",
    ]
    assert events[-2]["percent"] == 50


def test_a_retry_is_queued_as_a_new_attempt(academy: Academy) -> None:
    academy.jobs.ended("be_stopped", 2)
    events = academy.jobs.events("be_stopped")
    assert [(event["type"], event["attempt"]) for event in events] == [
        ("queued", 1),
        ("processing", 1),
        ("queued", 2),
        ("processing", 2),
        ("done", 2),
    ]
    reason = "WorkerShutdown: the worker was stopped before the job ended"
    assert academy.jobs.retried("be_stopped") == [None, reason]


def test_an_id_that_is_enqueued_again_is_a_new_attempt(academy: Academy) -> None:
    academy.jobs.ended("break_down")
    academy.send("need_two_tries", job_id="break_down")
    status = academy.jobs.reached("break_down", "DONE")
    assert status["attempt"] == 3


def test_jobs_of_no_tenant_are_not_reported(academy: Academy) -> None:
    academy.send("import_rows", job_id="of-nobody", rows=1, tenant_id=None)
    academy.send("import_rows", job_id="afterwards", rows=1)
    academy.jobs.ended("afterwards")
    assert academy.jobs.events("of-nobody") == []

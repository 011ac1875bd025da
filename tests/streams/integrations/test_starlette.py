"""Background tasks in a real uvicorn: however a task ends, its job ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from ops.devstack import EmbeddedRedis
from streams.connection import connect
from tests.docs.pages import ROOT, example
from tests.support.job_ends import JobEnds
from tests.support.servers import server_folder
from tests.support.waiting import ENDING, eventually

SERVER = "-m uvicorn tests.support.starlette_academy:app --log-level critical".split()


class Academy:
    """An application, and the jobs of its tasks."""

    def __init__(self, jobs: JobEnds, folder: Path, redis_url: str) -> None:
        self.jobs = jobs
        self._socket = folder / "server"
        self._environ = os.environ | {
            "JOBTRAIL_REDIS_URL": redis_url,
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)]),
        }

    @contextmanager
    def server(self) -> Iterator[subprocess.Popen[bytes]]:
        """Start a server, which is killed at the latest when the block ends."""
        options = ["--timeout-graceful-shutdown", "1", "--uds", str(self._socket)]
        command = [sys.executable, *SERVER, *options]
        server = subprocess.Popen(command, env=self._environ, cwd=ROOT)
        try:
            eventually(lambda: self._socket.exists() or server.poll() is not None, 60)
            assert server.poll() is None
            yield server
        finally:
            server.kill()
            server.wait(ENDING)
            self._socket.unlink(missing_ok=True)

    def post(self, path: str, **query: str | int) -> object:
        transport = httpx.HTTPTransport(uds=str(self._socket), retries=9)
        with httpx.Client(transport=transport, base_url="http://academy", timeout=ENDING) as client:
            return client.post(path, params=query).raise_for_status().json()

    def start(self, *names: str) -> list[str]:
        """Start tasks in one response, and return the ids of their jobs."""
        made = self.post("/tasks", names=",".join(names))
        assert isinstance(made, list)
        return made

    def end(self, job: str) -> tuple[str, str | None]:
        status = self.jobs.ended(job)
        return status["status"], status.get("code")


@pytest.fixture(scope="module")
def academy() -> Iterator[Academy]:
    with ExitStack() as stack:
        folder = stack.enter_context(server_folder())
        server = stack.enter_context(EmbeddedRedis(folder / "redis", persist=False))
        jobs = JobEnds(stack.enter_context(connect(server.url)))
        (folder / "imports.py").write_text(
            example("integrations.md", "imports.py").text.replace("tenant_id=42", "tenant_id=7")
        )
        yield Academy(jobs, folder, server.url)


def test_however_a_background_task_ends__its_job_ends(academy: Academy) -> None:
    jobs = academy.jobs
    with academy.server() as server:
        made = academy.post("/imports", rows=2)
        assert isinstance(made, dict)
        (threaded,) = academy.start("work_in_a_thread")
        for job, name in ((made["job"], "import_rows"), (threaded, "work_in_a_thread")):
            status = jobs.ended(job)
            assert (status["status"], status["job_type"]) == ("DONE", name)
            types = [event["type"] for event in jobs.events(job)]
            assert types == ["queued", "processing", "progress", "progress", "done"]
        assert jobs.status(made["job"])["result"] == {"rows": 2}
        assert jobs.status(threaded)["result"] == {"value": True}

        first, failed, *skipped = academy.start(
            "work_in_a_thread", "break_down", "break_down", "work_in_a_thread"
        )
        assert academy.end(first) == ("DONE", None)
        assert academy.end(failed) == ("FAILED", "LookupError")
        assert [academy.end(job) for job in skipped] == [("CANCELLED", None)] * 2
        (slow,) = academy.start("take_too_long")
        assert academy.end(slow) == ("FAILED", "TimeoutError")

        # No tenant, no report; the task runs all the same.
        academy.post("/tasks", names="work_in_a_thread", tenant=8)
        (interrupted,) = academy.start("be_interrupted")
        jobs.reached(interrupted, "PROCESSING")
        server.terminate()
        server.wait(ENDING)
        assert academy.end(interrupted) == ("CANCELLED", None)


def test_a_job_whose_server_was_killed_is_left_to_the_consumers(academy: Academy) -> None:
    with academy.server() as server:
        (job,) = academy.start("be_interrupted")
        academy.jobs.reached(job, "PROCESSING")
        server.send_signal(signal.SIGKILL)
        server.wait(ENDING)
    assert academy.jobs.status(job)["status"] == "PROCESSING"

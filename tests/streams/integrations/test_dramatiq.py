"""Real Dramatiq workers on a Redis broker: however a message ends, its job ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
from dramatiq import Message
from dramatiq.brokers.redis import RedisBroker

from ops.devstack import EmbeddedRedis
from streams.compat.bridge import Bridge
from streams.connection import connect
from streams.integrations.dramatiq import report_tasks
from tests.docs.pages import example
from tests.support.job_ends import JobEnds
from tests.support.processes import signal_all
from tests.support.servers import server_folder
from tests.support.waiting import ENDING

TREE = Path(__file__).parents[3]
DRAMATIQ = Path(sys.executable).parent / "dramatiq"
WORKER = "dramatiq_tasks tests.support.dramatiq_academy --processes 1 --threads 4".split()
URL = "redis://127.0.0.1:6379/0"

ENDS = {
    "grade": ("DONE", 1, None),
    "break_down": ("FAILED", 2, "LookupError"),
    "give_up": ("FAILED", 1, "LookupError"),
    "need_two_tries": ("DONE", 2, None),
    "take_too_long": ("FAILED", 1, "TimeLimitExceeded"),
    "exit_early": ("FAILED", 1, "SystemExit"),
    "raise_unprintable": ("FAILED", 1, "Unprintable"),
    "no_such_actor": ("FAILED", 1, "ActorNotFound"),
    "too_old": ("CANCELLED", 1, None),
    "import_rows": ("DONE", 1, None),
}
"""The expected end of each message's job: its status, attempt and code."""


class Academy(JobEnds):
    """A broker, and the worker that the page describes."""

    def __init__(self, client: redis.Redis, url: str, folder: Path) -> None:
        super().__init__(client)
        self.broker: Any = RedisBroker(client=client)  # type: ignore[no-untyped-call]
        self._folder = folder
        # Dramatiq looks for killed workers at one of a thousand commands; here at each.
        page = example("integrations.md", "dramatiq_tasks.py").text
        assert URL in page
        page = page.replace(f'"{URL}"', f'"{url}", maintenance_chance=1_000_000')
        (folder / "dramatiq_tasks.py").write_text(page)
        self._environ = os.environ | {"JOBTRAIL_REDIS_URL": url, "PYTHONPATH": str(TREE)}
        self._worker: subprocess.Popen[bytes] | None = None

    def send(self, job: str, *, actor: str = "", **options: object) -> None:
        kwargs: dict[str, object] = {"tenant_id": 7}
        if job == "import_rows":
            kwargs["rows"] = 3
        self.broker.enqueue(Message("default", actor or job, (), kwargs, options, message_id=job))

    def start(self) -> None:
        with (self._folder / "worker.log").open("ab") as log:
            self._worker = subprocess.Popen(
                [str(DRAMATIQ), *WORKER],
                env=self._environ,
                cwd=self._folder,
                stdout=log,
                stderr=log,
            )

    def kill(self) -> None:
        """Kill the worker with all its processes, as a loss of power does."""
        if self._worker is not None:
            signal_all(self._worker.pid, signal.SIGKILL)
            self._worker.wait(ENDING)


@pytest.fixture(scope="module")
def academy() -> Iterator[Academy]:
    """A worker that has received one message of each kind."""
    with ExitStack() as stack:
        folder = stack.enter_context(server_folder())
        server = stack.enter_context(EmbeddedRedis(folder / "redis", persist=False))
        client = stack.enter_context(connect(server.url))
        academy = Academy(client, server.url, folder)
        stack.callback(report_tasks(academy.broker, through=Bridge(client)))
        for job in ENDS.keys() - {"too_old"}:
            academy.send(job)
        academy.send("too_old", actor="grade", max_age=-1)
        academy.start()
        stack.callback(academy.kill)
        yield academy


@pytest.mark.parametrize("job", ENDS)
def test_however_a_message_ends__its_job_ends(academy: Academy, job: str) -> None:
    status = academy.ended(job, ENDS[job][1])
    assert (status["status"], status["attempt"], status.get("code")) == ENDS[job]


def test_attempts_that_are_retried_do_not_end(academy: Academy) -> None:
    academy.ended("need_two_tries", 2)
    types = [each["type"] for each in academy.events("need_two_tries")]
    assert (types.count("failed"), types.count("processing"), types[-1]) == (0, 2, "done")


def test_progress_is_reported_by_the_current_job(academy: Academy) -> None:
    academy.ended("import_rows")
    progress = [each for each in academy.events("import_rows") if each["type"] == "progress"]
    assert progress[0]["step"] == "importing"


def test_a_message_whose_worker_was_killed_runs_again(academy: Academy) -> None:
    """The killed worker's lease of a minute is ended by hand."""
    academy.send("be_killed_once")
    academy.reached("be_killed_once", "PROCESSING")
    academy.kill()
    client: Any = academy.broker.client
    for worker in client.zrange("dramatiq:__heartbeats__", 0, -1):
        client.zadd("dramatiq:__heartbeats__", {worker: 1})
    academy.start()
    status = academy.ended("be_killed_once")
    assert (status["status"], status["attempt"]) == ("DONE", 1)

"""Workers of task queues: real processes, with a Redis of their own and the examples of a page."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import redis

from ops.devstack import EmbeddedRedis
from streams.connection import connect
from tests.docs.pages import ROOT, example
from tests.support.job_ends import JobEnds
from tests.support.processes import signal_all
from tests.support.servers import server_folder
from tests.support.waiting import ENDING

URL = "redis://127.0.0.1:6379/0"
"""The Redis in the examples."""


class Queue(JobEnds):
    """A queue on a Redis of its own; `start` starts its worker."""

    def __init__(self, client: redis.Redis, url: str, folder: Path) -> None:
        super().__init__(client)
        self.client = client
        self.folder = folder
        self.url = url
        self._environ = os.environ | {
            "JOBTRAIL_REDIS_URL": url,
            "RQ_REDIS_URL": url,
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)]),
        }
        self._worker: subprocess.Popen[bytes] | None = None

    def write(self, title: str, change: Callable[[str], str] = str) -> None:
        """Write an example of the page into the folder, with the URL of this Redis."""
        page = change(example("integrations.md", title).text)
        (self.folder / title).write_text(page.replace(URL, self.url))

    def start(self, script: str, *words: str) -> None:
        """Start a worker by a script that its package has installed."""
        with (self.folder / "worker.log").open("ab") as log:
            self._worker = subprocess.Popen(
                [str(Path(sys.executable).parent / script), *words],
                env=self._environ,
                cwd=self.folder,
                stdout=log,
                stderr=log,
            )

    def kill(self) -> None:
        """Kill the worker with all its processes, as a loss of power does."""
        if self._worker is not None and self._worker.poll() is None:
            signal_all(self._worker.pid, signal.SIGKILL)
            self._worker.wait(ENDING)

    def terminate(self) -> None:
        """Ask the worker to end, and wait until it has."""
        if self._worker is not None:
            self._worker.terminate()
            self._worker.wait(ENDING)


@contextmanager
def open_queue() -> Iterator[Queue]:
    """Return a queue whose worker does not run yet."""
    with ExitStack() as stack:
        folder = stack.enter_context(server_folder())
        server = stack.enter_context(EmbeddedRedis(folder / "redis", persist=False))
        client = stack.enter_context(connect(server.url))
        queue = Queue(client, server.url, folder)
        stack.callback(queue.kill)
        yield queue

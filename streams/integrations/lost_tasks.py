"""Tasks that were lost with a killed process: any other process of the machine reports them.

Used by integrations of queues that forget a task whose worker is killed.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from ..compat.bridge import Bridge
from ..failure import ErrorText, Failure
from .running_tasks import RunningTasks
from .task_reports import Task, TaskReports


class LostTasks:
    """Records the tasks that this process runs, and reports those of killed processes.

    Args:
        framework, queue: processes of one user share their records if both are the same, and so is
            `JOBTRAIL_REDIS_URL`.
        reports: describes the tasks of this process.
        through: where events are appended; by default to the Redis in `JOBTRAIL_REDIS_URL`.
        spool, error_text: options of the reporter that is made if there is no `through`.
    """

    def __init__(
        self,
        framework: str,
        queue: str,
        reports: TaskReports,
        through: Bridge | None,
        *,
        spool: Path | str | None = None,
        error_text: ErrorText | None = None,
    ) -> None:
        self._running = RunningTasks(_folder(framework, queue))
        self._own = reports
        self._lost = TaskReports(through=through, spool=spool, error_text=error_text)

    def record(self, task: Task) -> None:
        """Record that this thread runs a task from now on, if it is reported."""
        identity = self._own.identity(task)
        if identity is not None:
            self._running.record(identity)

    def clear(self, task_id: str) -> None:
        """Record that this thread does not run a task any more."""
        self._running.clear(task_id)

    def report(self) -> None:
        """Report the tasks of killed processes as failed."""
        for identity in self._running.lost():
            tenant, name = {"tenant_id": identity["tenant"]}, identity["name"]
            task = Task(identity["id"], name, identity["attempt"], kwargs=tenant)
            self._lost.failed(task, Failure("the worker that ran the task was lost", "WorkerLost"))
            self._own.has_ended(task)


def _folder(framework: str, queue: str) -> Path:
    url = os.environ.get("JOBTRAIL_REDIS_URL", "")
    name = hashlib.sha256(f"{os.geteuid()} {queue} {url}".encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir(), f"jobtrail-{framework}-{name}")

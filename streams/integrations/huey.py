"""Huey's tasks as jobs: its signals and hooks append the events, without a change to the tasks.

    from jobtrail.integrations.huey import report_tasks

    report_tasks(huey)

The id of a task is the id of the job, its name is the job type, and each retry is a new attempt.
Tasks without a tenant are not reported. Inside a task, `current_job()` reports progress. Huey
forgets a task whose worker is killed: the next worker of the same machine reports it as failed.
Used by applications with Huey.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..compat.bridge import Bridge
from ..failure import ErrorText, cause_of, text_of
from .lost_tasks import LostTasks
from .publishing import PUBLISH_SECONDS
from .task_reports import Task, TaskReports, TenantOf, tenant_argument

_LOG = logging.getLogger(__name__)
_NAME = "jobtrail"
"""The name of the hooks in the lists of Huey."""

# The functions hold their instances, which live as long as the process.
_CONNECTED: dict[Any, Callable[[], None]] = {}
"""The functions that end the present reports, by the instance of Huey."""


def report_tasks(
    huey: Any,
    *,
    tenant_of: TenantOf = tenant_argument,
    through: Bridge | None = None,
    publish_seconds: float = PUBLISH_SECONDS,
    spool: Path | str | None = None,
    error_text: ErrorText | None = None,
) -> Callable[[], None]:
    """Report the tasks of a Huey instance from now on; return a function that ends this.

    A second call for the same instance replaces the first.

    Args:
        huey: the instance that has the tasks.
        tenant_of: returns the tenant of a task, or None for a task that is not reported.
        through: where events are appended; by default to the Redis in `JOBTRAIL_REDIS_URL`.
        publish_seconds: the longest time for which publishing a task waits for Redis.
        spool: a directory for ends that could not be appended, as that of `Reporter`.
        error_text: returns the text that users see of an exception, likewise.

    Raises:
        ValueError, OSError: the spool cannot be used, or `through` has options of its own.
        ImportError: Huey is not installed.
    """
    earlier = _CONNECTED.pop(huey, None)
    if earlier is not None:
        earlier()
    reports = TaskReports(
        tenant_of,
        through,
        reruns=True,
        publish_seconds=publish_seconds,
        spool=spool,
        error_text=error_text,
    )
    hooks = _Hooks(huey, reports, through, spool, error_text)
    hooks.connect()
    _CONNECTED[huey] = hooks.disconnect
    return hooks.disconnect


@dataclass
class _Run:
    """A task that runs, and what has been reported of its end."""

    task: Task
    cancelled: bool = False
    ended: bool = False
    error: BaseException | None = None
    """Why it is retried."""


class _Hooks:
    """Receivers of Huey's signals and hooks."""

    def __init__(
        self,
        huey: Any,
        reports: TaskReports,
        through: Bridge | None,
        spool: Path | str | None,
        error_text: ErrorText | None,
    ) -> None:
        from huey import signals  # noqa: PLC0415 - only its users have it

        self._huey = huey
        self._reports = reports
        self._lost = LostTasks(
            "huey", huey.name, reports, through, spool=spool, error_text=error_text
        )
        self._runs: dict[str, _Run] = {}
        self._connected = False
        self._method = huey._execute  # noqa: SLF001 - what it raises has no signal
        self._receivers = [
            (self._queued, (signals.SIGNAL_ENQUEUED, signals.SIGNAL_SCHEDULED)),
            (self._not_run, (signals.SIGNAL_REVOKED, signals.SIGNAL_EXPIRED)),
            (self._canceled, (signals.SIGNAL_CANCELED,)),
            (self._interrupted, (signals.SIGNAL_INTERRUPTED,)),
        ]

    def connect(self) -> None:
        """Add the receivers to the instance."""
        for receiver, names in self._receivers:
            self._huey.signal(*names)(receiver)
        self._huey.post_execute(_NAME)(self._executed)
        self._huey.on_startup(_NAME)(self._lost.report)
        self._huey._execute = self._execute  # noqa: SLF001
        self._connected = True

    def disconnect(self) -> None:
        """Take the receivers off the instance, unless others have replaced them."""
        if not self._connected:
            return
        for receiver, names in self._receivers:
            self._huey.disconnect_signal(receiver, *names)
        self._huey.unregister_post_execute(_NAME)
        self._huey.unregister_on_startup(_NAME)
        self._connected = False
        if self._huey._execute == self._execute:  # noqa: SLF001 - otherwise a wrapper calls it
            self._huey._execute = self._method  # noqa: SLF001

    def _queued(self, signal: str, task: Any) -> None:  # noqa: ARG002 - the signal's arguments
        run = self._runs.get(task.id)
        attempt = self._reports.queued(_task(task), retried=None if run is None else run.error)
        if run is not None:
            self._keep_attempt(task, attempt)

    def _not_run(self, signal: str, task: Any) -> None:
        self._reports.cancelled(self._attempted(task), signal)

    def _canceled(self, signal: str, task: Any) -> None:  # noqa: ARG002
        if task.id in self._runs:
            self._runs[task.id].cancelled = True

    def _interrupted(self, signal: str, task: Any) -> None:
        run = self._runs.get(task.id)
        if run is not None and not run.ended:
            run.ended = True
            self._reports.cancelled(run.task, signal)

    def _executed(self, task: Any, value: Any, exception: BaseException | None) -> None:
        from huey.exceptions import RetryTask  # noqa: PLC0415 - only its users have it

        run = self._runs.get(task.id)
        if run is None:
            return
        if run.ended or (exception is not None and task.retries):
            run.ended = True  # it is retried
            run.error = exception and cause_of(exception, RetryTask)
            return
        run.ended = not (run.cancelled and exception is not None)
        if exception is None:
            self._reports.done(run.task, value)
        elif run.ended:
            self._reports.failed(run.task, exception)

    def _execute(self, task: Any, timestamp: Any) -> Any:
        if not self._connected:
            return self._method(task, timestamp)
        run = self._runs[task.id] = _Run(self._attempted(task))
        self._reports.started(run.task)
        self._reports.entered(run.task)
        self._lost.record(run.task)
        try:
            return self._method(task, timestamp)
        except BaseException as error:
            if not run.ended:
                self._reports.failed(run.task, error)
            run.ended = True
            raise
        finally:
            if not run.ended:
                self._reports.cancelled(run.task, "canceled")
            self._lost.clear(task.id)
            self._reports.left(task.id)
            self._runs.pop(task.id, None)

    def _keep_attempt(self, task: Any, attempt: int) -> None:
        """Keep the number of a retry, which may start before readers have seen that it waits."""
        try:
            self._huey.put(_key(task), attempt)
        except Exception as error:
            _LOG.warning("the attempt of task %s was not kept: %s", task.id, text_of(error))

    def _attempted(self, task: Any) -> Task:
        """Return a task with the number that was kept for its retry."""
        try:
            attempt = self._huey.get(_key(task))
        except Exception as error:
            _LOG.warning("the attempt of task %s cannot be read: %s", task.id, text_of(error))
            attempt = None
        return replace(_task(task), attempt=attempt) if isinstance(attempt, int) else _task(task)


def _task(task: Any) -> Task:
    return Task(task.id, task.name, args=tuple(task.args), kwargs=task.kwargs)


def _key(task: Any) -> str:
    return f"jobtrail.attempt.{task.id}"

"""Taskiq tasks as jobs: a middleware appends the events, without a change to the tasks.

    from jobtrail.integrations.taskiq import report_tasks

    report_tasks(broker)

The id of a task is the id of the job, its name is the job type, and each retry is a new attempt.
Tasks without a tenant are not reported. Inside a task, `current_job()` reports progress.

A report never makes a task fail: an event that cannot be appended is a warning, and an end is
retried before that. Used by applications with Taskiq.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..async_reporter import AsyncReporter
from ..failure import ErrorText, Failure
from ..reporting import current
from .async_task_reports import AsyncTaskReports, Run
from .publishing import PUBLISH_SECONDS
from .task_reports import Task, TenantOf, tenant_argument

if TYPE_CHECKING:
    from taskiq import AsyncBroker, TaskiqMessage, TaskiqResult


def report_tasks(
    broker: AsyncBroker,
    *,
    tenant_of: TenantOf = tenant_argument,
    through: AsyncReporter | None = None,
    publish_seconds: float = PUBLISH_SECONDS,
    spool: Path | str | None = None,
    error_text: ErrorText | None = None,
) -> Callable[[], None]:
    """Report the tasks that a broker sends and runs from now on; return a function that ends this.

    A second call for the same broker replaces the first. `tenant_of` returns the tenant of a task,
    or None for a task that is not reported. `through` sends the events, by default to the Redis in
    `JOBTRAIL_REDIS_URL`.
    `publish_seconds` is the longest time for which publishing a task waits for Redis, if that is
    unavailable: the job appears when the task starts then.
    `spool` is a directory for ends that could not be appended, and `error_text` returns the text
    that users see of an exception, as those of `Reporter`.

    Raises:
        ValueError, OSError: the spool cannot be used, or `through` has options of its own.
        ImportError: Taskiq is not installed.
    """
    from taskiq import TaskiqMiddleware  # noqa: PLC0415 - only its users have it

    made = type("JobtrailMiddleware", (_Middleware, TaskiqMiddleware), {})
    middleware = made(
        AsyncTaskReports(
            tenant_of, through, publish_seconds=publish_seconds, spool=spool, error_text=error_text
        )
    )
    others = [each for each in broker.middlewares if not isinstance(each, _Middleware)]
    broker.middlewares[:] = others
    broker.add_middlewares(middleware)

    def stop() -> None:
        if middleware in broker.middlewares:
            broker.middlewares.remove(middleware)

    return stop


@dataclass
class _Running:
    """A task that is running in this context."""

    message: TaskiqMessage
    run: Run | None
    before: object
    """The job that was current before."""
    outer: _Running | None
    """The task that runs this one in place."""
    requeues: int
    """Value of the label that counts how often the task has put itself into the queue again."""
    error: BaseException | None = None
    """The exception that the task has raised."""
    sent_again: bool = False


_RUNNING: ContextVar[_Running | None] = ContextVar("jobtrail_taskiq", default=None)


class _Middleware:
    """Methods of a middleware; Taskiq calls all of them for one task in one context."""

    broker: AsyncBroker

    def __init__(self, reports: AsyncTaskReports) -> None:
        super().__init__()
        self._reports = reports

    async def pre_send(self, message: TaskiqMessage) -> TaskiqMessage:
        """Report that a task waits, before a worker can get it."""
        running = _RUNNING.get()
        if running is not None and running.message.task_id == message.task_id:
            running.sent_again = True
            await self._retried(running)
        else:
            await self._reports.queued(await self._reports.sent(_task(message)))
        return message

    async def pre_execute(self, message: TaskiqMessage) -> TaskiqMessage:
        """Report that a task starts, and make its job the current one."""
        known = self.broker.find_task(message.task_name)
        function = None if known is None else known.original_func
        blocking = not inspect.iscoroutinefunction(function)
        run = await self._reports.started(_task(message), blocking=blocking)
        before = current.enter(None if run is None else run.job)
        _RUNNING.set(_Running(message, run, before, _RUNNING.get(), _requeues(message)))
        return message

    def on_error(
        self,
        message: TaskiqMessage,  # noqa: ARG002 - Taskiq's signature
        result: TaskiqResult[Any],  # noqa: ARG002 - likewise
        exception: BaseException,
    ) -> None:
        """Remember what a task has raised; a middleware for retries replaces it in the result."""
        running = _RUNNING.get()
        if running is not None:
            running.error = exception

    async def post_execute(self, message: TaskiqMessage, result: TaskiqResult[Any]) -> None:
        """Report the end of a task, or that it will be run again."""
        running = _RUNNING.get()
        if running is None:
            return
        _RUNNING.set(running.outer)
        current.leave(running.before)
        if running.run is not None:
            await self._ended(running, running.run, message, result)

    async def _ended(
        self, running: _Running, run: Run, message: TaskiqMessage, result: TaskiqResult[Any]
    ) -> None:
        from taskiq.exceptions import NoResultError, TaskRejectedError  # noqa: PLC0415 - likewise

        error = running.error
        again = isinstance(result.error, NoResultError) and not isinstance(error, NoResultError)
        if running.sent_again:
            return
        if again or _requeues(message) > running.requeues:
            await self._retried(running)
        elif error is None:
            await self._reports.report(run, run.done(result.return_value))
        elif isinstance(error, asyncio.CancelledError):
            await self._reports.report(run, run.cancelled("the task was cancelled"))
        elif isinstance(error, TaskRejectedError):
            rejected = Failure("the task rejected its message", "Reject")
            await self._reports.report(run, run.failed(rejected))
        else:
            await self._reports.report(run, run.failed(error))

    async def _retried(self, running: _Running) -> None:
        """Report that the task waits for its next attempt."""
        if running.run is not None:
            task = running.run.task
            await self._reports.queued(replace(task, attempt=task.attempt + 1), running.error)


def _task(message: TaskiqMessage) -> Task:
    attempt = 1 + int(message.labels.get("_retries") or 0) + _requeues(message)
    return Task(message.task_id, message.task_name, attempt, tuple(message.args), message.kwargs)


def _requeues(message: TaskiqMessage) -> int:
    return int(message.labels.get("X-Taskiq-requeue") or 0)

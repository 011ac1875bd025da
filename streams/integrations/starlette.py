"""Background tasks of Starlette and FastAPI as jobs.

    from jobtrail.integrations.starlette import BackgroundJobs

    jobs = BackgroundJobs()
    app = FastAPI(lifespan=jobs.lifespan)

    @app.post("/imports")
    async def start(background_tasks: BackgroundTasks) -> dict[str, str]:
        return {"job": await jobs.add_task(background_tasks, import_rows, tenant_id=42)}

A job is queued when the task is added, and processing when the server runs the task, after the
response. Its end is what the function returns or raises. Inside of it, `current_job()` reports
progress. A report never makes a task fail. Used by applications with Starlette or FastAPI.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from ..async_reporter import AsyncReporter
from ..event_ids import new_event_id
from ..failure import ErrorText, failure_of
from ..reporting import current
from .async_task_reports import AsyncTaskReports, Run
from .publishing import PUBLISH_SECONDS
from .task_reports import Task, TenantOf, tenant_argument

ENDING_SECONDS = 5.0
"""Seconds for which the end of an application waits for tasks that were cancelled."""


class Tasks(Protocol):
    """Interface of `BackgroundTasks` of Starlette and FastAPI."""

    @property
    def tasks(self) -> Sequence[Any]:
        """The tasks that were added; each has a `func`."""

    def add_task(self, func: Callable[[], Any]) -> None:
        """Add a task."""


class BackgroundJobs:
    """Adds background tasks that are reported as jobs; one object serves a whole application.

    Args:
        tenant_of: returns the tenant of a task, or None for a task that is not reported.
        through: sends the events, and is closed by `aclose`; by default a reporter for the Redis in
            `JOBTRAIL_REDIS_URL`.
        publish_seconds: the longest time for which adding a task waits for Redis.
        spool: a directory for ends that could not be appended, as that of `Reporter`.
        error_text: returns the text that users see of an exception, likewise.
    """

    def __init__(
        self,
        *,
        tenant_of: TenantOf = tenant_argument,
        through: AsyncReporter | None = None,
        publish_seconds: float = PUBLISH_SECONDS,
        spool: Path | str | None = None,
        error_text: ErrorText | None = None,
    ) -> None:
        self._reports = AsyncTaskReports(
            tenant_of, through, publish_seconds=publish_seconds, spool=spool, error_text=error_text
        )
        self._running: set[asyncio.Future[None]] = set()

    @asynccontextmanager
    async def lifespan(self, app: object) -> AsyncIterator[None]:  # noqa: ARG002 - Starlette's own
        """Use this as the lifespan of an application: before it ends, all ends are sent.

        A server that is stopped cancels the tasks for which it does not wait any longer, and then
        may exit at once.
        """
        yield
        await self.aclose()

    async def aclose(self) -> None:
        """Wait until the tasks that were cancelled have ended, and their ends are sent."""
        if self._running:
            await asyncio.wait(self._running, timeout=ENDING_SECONDS)
        await self._reports.aclose()

    async def add_task(
        self, tasks: Tasks, function: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> str:
        """Add a task as `BackgroundTasks.add_task` does, and return the id of its job.

        The tenant is the keyword argument `tenant_id`, unless there is a `tenant_of`.
        """
        name = getattr(function, "__qualname__", type(function).__name__)
        task = Task(new_event_id(), name.rpartition("<locals>.")[2], 1, args, kwargs)
        await self._reports.queued(task)
        tasks.add_task(_Call(self._reports, self._running, tasks, task, function))
        return task.id


class _Call:
    """The call of a background task."""

    def __init__(
        self,
        reports: AsyncTaskReports,
        running: set[asyncio.Future[None]],
        tasks: Tasks,
        task: Task,
        function: Callable[..., Any],
    ) -> None:
        self.task = task
        self._running = running
        self._reports = reports
        self._tasks = tasks
        self._function = function

    async def __call__(self) -> None:
        ended = asyncio.get_running_loop().create_future()
        self._running.add(ended)
        try:
            await self._run()
        finally:
            self._running.discard(ended)
            ended.set_result(None)

    async def _run(self) -> None:
        blocking = not _is_coroutine(self._function)
        run = self._reports.run(self.task, blocking=blocking)
        before = current.enter(None if run is None else run.job)
        try:
            if run is not None:
                await self._reports.report(run, run.begin())
            result = await self._result(blocking=blocking)
        except BaseException as error:
            await self._failed(run, error)
            raise
        finally:
            current.leave(before)
        if run is not None:
            await self._reports.report(run, run.done(result))

    async def _result(self, *, blocking: bool) -> Any:
        from anyio.to_thread import run_sync  # noqa: PLC0415 - only Starlette requires it

        call = partial(self._function, *self.task.args, **self.task.kwargs)
        return await (run_sync(call) if blocking else call())

    async def _failed(self, run: Run | None, error: BaseException) -> None:
        """Report the end of this task, and of those after it, which the server does not run."""
        if run is not None and isinstance(error, asyncio.CancelledError):
            await self._reports.report(run, run.cancelled("interrupted: CancelledError"))
        elif run is not None:
            await self._reports.report(run, run.failed(error))
        reason = f"not run, because a task before it has ended by {failure_of(error).code}"
        for task in self._later():
            skipped = self._reports.run(task)
            if skipped is not None:
                await self._reports.report(skipped, skipped.cancelled(reason))

    def _later(self) -> list[Task]:
        calls = [each.func for each in self._tasks.tasks]
        return [each.task for each in calls[calls.index(self) + 1 :] if isinstance(each, _Call)]


def _is_coroutine(function: Callable[..., Any]) -> bool:
    while isinstance(function, partial):
        function = function.func
    called = getattr(function, "__call__", None)  # noqa: B004 - of objects
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)

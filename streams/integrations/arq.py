"""arq jobs as jobs: what arq enqueues and runs is reported, without a change to the functions.

    from jobtrail.integrations.arq import report_tasks

    report_tasks()

The id of an arq job is the id of the job, its function is the job type, and each try is an attempt.
Jobs without a tenant are not reported. Inside a function, `current_job()` reports progress.

arq's own hooks see neither arguments nor results, and not all ends. So the methods that enqueue a
job and that make a worker are wrapped. A report never makes a job fail: an event that cannot be
appended is a warning, and an end is retried before that. Used by applications with arq.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..async_reporter import AsyncReporter
from ..failure import ErrorText, Failure, cause_of, described
from ..reporting import current
from .async_task_reports import AsyncTaskReports, Run
from .methods import Methods
from .publishing import PUBLISH_SECONDS
from .task_reports import Task, TenantOf, tenant_argument

if TYPE_CHECKING:
    from arq.connections import ArqRedis
    from arq.jobs import Job
    from arq.worker import Worker

_LOG = logging.getLogger(__name__)
_STOPS: list[Callable[[], None]] = []
"""The function that ends the present reports, if there is one."""
_UNKNOWN = "<unknown>"
"""Function of a job whose definition arq could not read."""


def report_tasks(
    *,
    tenant_of: TenantOf = tenant_argument,
    through: AsyncReporter | None = None,
    publish_seconds: float = PUBLISH_SECONDS,
    spool: Path | str | None = None,
    error_text: ErrorText | None = None,
) -> Callable[[], None]:
    """Report the jobs of this process from now on; return a function that ends this.

    A second call replaces the first; workers that were made before keep theirs. `tenant_of` returns
    the tenant of a task, or None for a task that is not reported. `through` sends the events, by
    default to the Redis in `JOBTRAIL_REDIS_URL`.
    `publish_seconds` is the longest time for which publishing a task waits for Redis, if that is
    unavailable: the job appears when the task starts then.
    `spool` is a directory for ends that could not be appended, and `error_text` returns the text
    that users see of an exception, as those of `Reporter`.

    Raises:
        ValueError, OSError: the spool cannot be used, or `through` has options of its own.
        ImportError: arq is not installed.
    """
    from arq.connections import ArqRedis  # noqa: PLC0415 - only its users have it
    from arq.worker import Worker  # noqa: PLC0415 - likewise

    reports = AsyncTaskReports(
        tenant_of, through, publish_seconds=publish_seconds, spool=spool, error_text=error_text
    )

    def make(method: Callable[..., None], worker: Worker, *args: Any, **kwargs: Any) -> None:
        method(worker, *args, **kwargs)
        _Jobs(reports, worker).observe()

    while _STOPS:
        _STOPS.pop()()
    methods = Methods()
    methods.wrap(ArqRedis, "enqueue_job", _enqueue_job(reports))
    methods.wrap(Worker, "__init__", make)
    _STOPS.append(methods.restore)
    return methods.restore


def _enqueue_job(reports: AsyncTaskReports) -> Callable[..., Awaitable[Job | None]]:
    """Return the wrapper of arq's method that enqueues a job."""

    async def enqueue_job(
        method: Callable[..., Awaitable[Job | None]],
        pool: ArqRedis,
        function: str,
        *args: Any,
        **kwargs: Any,
    ) -> Job | None:
        task = _enqueued_task(function, args, kwargs)
        # The attempt is determined before a worker can start the job.
        sent = await reports.sent(task) if task.id else task
        job = await method(pool, function, *args, **kwargs)
        if job is not None:  # otherwise there is a job of this id
            await reports.queued(replace(sent, id=job.job_id))
        return job

    return enqueue_job


_OPTIONS = frozenset(
    {"_job_id", "_queue_name", "_defer_until", "_defer_by", "_expires", "_job_try"}
)
"""Arguments of `enqueue_job` that are not passed to the function."""


def _enqueued_task(function: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Task:
    """Return what `enqueue_job` is called with; the id is empty if arq makes one."""
    passed = {name: value for name, value in kwargs.items() if name not in _OPTIONS}
    return Task(kwargs.get("_job_id") or "", function, kwargs.get("_job_try") or 1, args, passed)


@dataclass
class _Running:
    """A job that is running."""

    task: Task
    run: Run | None = None
    """Its run, once that is known to begin; none if the job is not reported."""
    result: object = None
    error: BaseException | None = None
    aborted: bool = False


class _Jobs:
    """Reports the jobs of one worker, whose functions and methods it replaces."""

    def __init__(self, reports: AsyncTaskReports, worker: Worker) -> None:
        self._reports = reports
        self._worker = worker
        self._running: dict[str, _Running] = {}

    def observe(self) -> None:
        """Report the worker's jobs from now on."""
        worker: Any = self._worker
        worker.functions = {
            name: self._reported(name, function) for name, function in worker.functions.items()
        }
        finish_job, finish_failed_job = worker.finish_job, worker.finish_failed_job

        async def finished(job_id: str, finish: bool, *args: Any, **kwargs: Any) -> None:  # noqa: FBT001 - arq's own
            running = self._running.pop(job_id, None)
            if finish and running is not None:
                await self._ended(running)
            # The end comes first: a worker that is stopped twice may not wait for what follows.
            await finish_job(job_id, finish, *args, **kwargs)
            if not finish and running is not None:
                task = running.task if running.run is None else running.run.task
                await self._reports.queued(
                    replace(task, attempt=task.attempt + 1), _reason(running.error)
                )

        async def failed_before_start(job_id: str, result: bytes | None) -> None:
            await self._never_started(job_id, result)
            await finish_failed_job(job_id, result)

        worker.finish_job = finished
        worker.finish_failed_job = failed_before_start

    def _reported(self, name: str, function: Any) -> Any:
        """Return a copy of arq's description of a function, which reports the function's calls."""
        reported, coroutine = copy(function), function.coroutine

        async def call(ctx: dict[Any, Any], *args: Any, **kwargs: Any) -> Any:
            task = Task(ctx["job_id"], name, ctx["job_try"], args, kwargs)
            running = self._running[task.id] = _Running(task)
            before = current.report()
            try:
                running.run = run = self._reports.run(await self._reports.sent(task))
                if run is not None:
                    current.enter(run.job)
                    await self._reports.report(run, run.begin())
                running.result = await coroutine(ctx, *args, **kwargs)
            except BaseException as error:
                running.error = error
                running.aborted = task.id in self._worker.aborting_tasks
                raise
            finally:
                current.leave(before)
            return running.result

        reported.coroutine = call
        return reported

    async def _ended(self, running: _Running) -> None:
        """Report how a job has ended, outside of the function, whose time limit excludes this."""
        run, error = running.run, running.error
        if run is None:  # there was no time to report the start, or the job is not reported
            run = self._reports.run(await self._reports.sent(running.task))
        if run is None:
            return
        if error is None:
            await self._reports.report(run, run.done(running.result))
        elif not isinstance(error, asyncio.CancelledError):
            await self._reports.report(run, run.failed(error))
        elif running.aborted or self._is_stopping():
            reason = "aborted" if running.aborted else "the worker was stopped"
            await self._reports.report(run, run.cancelled(reason))
        else:
            timeout = Failure("the job took longer than its timeout", "TimeoutError")
            await self._reports.report(run, run.failed(timeout))

    def _is_stopping(self) -> bool:
        """Return True if the worker cancels its jobs for good, because it ends."""
        main = self._worker.main_task
        return not self._worker.retry_jobs and main is not None and main.cancelling() > 0

    async def _never_started(self, job_id: str, result: bytes | None) -> None:
        """Report the end of a job that arq did not start, or did not start again."""
        from arq.jobs import deserialize_result  # noqa: PLC0415 - only its users have it

        try:
            ended = deserialize_result(result or b"", deserializer=self._worker.job_deserializer)
        except Exception as error:  # of the application's own format, or arq could not write it
            _LOG.warning("the end of job %s is not reported: %s", job_id, described(error))
            return
        if ended.function == _UNKNOWN:
            _LOG.warning("the end of job %s is not reported: its tenant is unknown", job_id)
            return
        task = Task(job_id, ended.function, ended.job_try, tuple(ended.args), ended.kwargs)
        run = self._reports.run(await self._reports.sent(task))
        if run is None:
            return
        if isinstance(ended.result, asyncio.CancelledError):
            await self._reports.report(run, run.cancelled("aborted"))
        else:
            await self._reports.report(run, run.failed(ended.result))


def _reason(error: BaseException | None) -> BaseException | None:
    """Return why a job is retried: what it has caught, if it has raised arq's `Retry` itself."""
    from arq.worker import Retry  # noqa: PLC0415 - only its users have it

    if isinstance(error, asyncio.CancelledError):
        return Failure("the worker was stopped before the job ended", "WorkerShutdown")
    return error and cause_of(error, Retry)

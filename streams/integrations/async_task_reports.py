"""Tasks of asyncio frameworks as jobs: what their integrations have in common.

It is for coroutines what `task_reports` is for functions. An `AsyncReporter` sends the events, so
that nothing blocks the event loop. Used by the modules for arq, Starlette and Taskiq.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import redis

from ..async_job_report import AsyncJobReport
from ..async_reporter import AsyncReporter
from ..compat.bridge import attempt_of, state_in
from ..events import load_json
from ..failure import ErrorText, described
from ..job_report import JobReport
from ..keys import JobKey
from ..kinds import State
from ..reporter import Reporter
from ..reporting.attempts import Known
from ..reporting.job_events import JobEvents
from ..reporting.turns import Outcome, settle
from ..runtime.environment import SettingsError
from ..wire import ask
from .publishing import PUBLISH_SECONDS, Losses, count
from .task_reports import Task, TenantOf, check_options, tenant_argument

_LOG = logging.getLogger(__name__)

_T = TypeVar("_T")

PATIENCE_SECONDS = PUBLISH_SECONDS / 2
"""Seconds that a task that starts waits for its number, and for its report. Ends wait longer."""


class Run:
    """One run of a task that is reported; an end is ignored if the task has ended its job itself.

    Args:
        task: the task, with the attempt that is reported.
        reporter: sends the events.
        report: reports the end.
        job: the current job inside of the task: the same report, or a blocking one for a function,
            which runs in a thread.
    """

    def __init__(
        self,
        task: Task,
        reporter: AsyncReporter,
        report: AsyncJobReport,
        job: AsyncJobReport | JobReport,
    ) -> None:
        self.task = task
        self._reporter = reporter
        self.job = job
        self._report = report

    async def begin(self) -> None:
        """Report the start through the current job, so that it precedes the progress.

        Return once it is sent, so that a task that kills its process is known to have started.
        """
        if isinstance(self.job, JobReport):
            await asyncio.to_thread(self.job.begin)
        else:
            await self.job.begin()
            await _called(self._reporter, lambda: None)

    async def done(self, result: object) -> None:
        """Report what the task has returned."""
        if await self._may_end():
            await self._report.done({"value": None} if result is None else result)

    async def failed(self, error: BaseException) -> None:
        """Report that the task has failed."""
        if await self._may_end():
            await self._report.failed(error)

    async def cancelled(self, reason: str) -> None:
        """Report that the task was cancelled."""
        if await self._may_end():
            await self._report.cancelled(reason)

    async def _may_end(self) -> bool:
        if self.job.ended:
            return False
        if isinstance(self.job, JobReport):
            await asyncio.to_thread(self.job.hand_over)
        return True


class AsyncTaskReports:
    """Reports what happens to the tasks of an asyncio framework; may be shared between loops.

    No call raises, so that no task fails because of its report: what cannot be appended is a
    warning, and an end is retried before that.

    Args:
        tenant_of: returns the tenant of a task, or None for a task that is not reported.
        through: sends the events; by default to the Redis in `JOBTRAIL_REDIS_URL`.
        publish_seconds: the longest time for which `sent` and `queued` together wait for Redis.
        spool, error_text: options of the reporter that is made if there is no `through`.

    Raises:
        ValueError: there are both `through` and such an option, or `publish_seconds` is 0 or less.
        UnsafeSpool, OSError: the spool's directory cannot be used.
    """

    def __init__(
        self,
        tenant_of: TenantOf = tenant_argument,
        through: AsyncReporter | None = None,
        *,
        publish_seconds: float = PUBLISH_SECONDS,
        spool: Path | str | None = None,
        error_text: ErrorText | None = None,
    ) -> None:
        check_options(spool, error_text, through)
        if not publish_seconds > 0:
            raise ValueError(f"publish_seconds must be above 0, not {publish_seconds}")
        self._patience = publish_seconds / 2
        self._losses = Losses()
        self._tenant_of = tenant_of
        self._through = through
        self._spool = spool
        self._error_text = error_text
        self._warned = False

    @property
    def lost(self) -> int:
        """The number of tasks that were sent without being reported as queued."""
        return self._losses.lost

    async def aclose(self) -> None:
        """Wait until all that was reported is sent, dropped or given up, and disconnect."""
        if self._through is not None:
            await self._through.aclose()

    async def sent(self, task: Task) -> Task:
        """Return a task with the attempt that its next run is.

        It is that of the task, unless a later attempt of the job is known, or one that has ended.
        """
        return await self._logged(task, self._numbered(task)) or task

    async def queued(self, task: Task, retried: BaseException | None = None) -> None:
        """Report that a task waits for a worker.

        `retried` is why the attempt before has failed, which only operators see.
        If it takes too long, the report is still retried as an end is, and nobody waits for it.
        """
        await self._logged(task, self._queued(task, retried))

    async def started(self, task: Task, *, blocking: bool = False) -> Run | None:
        """Report that a task starts; return its run, or None if it is not reported.

        If the attempt of the task has ended, as that of a worker that was believed dead, it is the
        next attempt. `blocking` is True if the task is a function that runs in a thread.
        """
        run = self.run(await self.sent(task), blocking=blocking)
        if run is not None:
            await self.report(run, run.begin())
        return run

    def run(self, task: Task, *, blocking: bool = False) -> Run | None:
        """Return a run that has not begun, or None if the task is not reported."""
        reporter, events = self._job(task)
        if reporter is None or events is None:
            return None
        fields: dict[str, Any] = {"job_type": events.job_type, "attempt": task.attempt}
        report = reporter.job(task.id, tenant=events.tenant, **fields)
        if not blocking:
            return Run(task, reporter, report, report)
        shared = Reporter.sharing(reporter)
        job = shared.job(task.id, tenant=events.tenant, **fields)
        return Run(task, reporter, report, job)

    async def report(self, run: Run, call: Coroutine[Any, Any, None]) -> None:
        """Await a report about a run; an error is a warning."""
        await self._logged(run.task, call)

    async def _logged(self, task: Task, call: Coroutine[Any, Any, _T]) -> _T | None:
        try:
            return await call
        except Exception as error:
            _LOG.warning("a report of task %s was not appended: %s", task.id, described(error))
            return None

    async def _numbered(self, task: Task) -> Task:
        reporter, events = self._job(task)
        if reporter is None or events is None:
            return task
        if self._losses.is_away:
            return task
        return replace(task, attempt=await _attempt(reporter, events, self._patience))

    async def _queued(self, task: Task, retried: BaseException | None) -> None:
        reporter, events = self._job(task)
        event = None if events is None else events.queued(retried)
        if reporter is None or events is None or event is None:
            return
        reporter.ended(events, event)
        appended = reporter.outbox.end(events.tenant, event, (), spooled=False)
        appended.add_done_callback(lambda future: self._count(future, task))
        outbox, tenant = reporter.outbox, events.tenant
        if not self._losses.is_away and not outbox.refuses(tenant):
            await asyncio.wait({appended}, timeout=self._patience)
            if not appended.done() and not outbox.refuses(tenant):
                self._losses.late()

    def _count(self, future: asyncio.Future[None], task: Task) -> None:
        """Count a report that was lost, also if nobody waits for it any more."""
        if future.cancelled():
            return
        error = future.exception()
        if error is None:
            self._losses.arrived()
        elif isinstance(error, Exception):
            count(self._losses, task.id, error)

    def _job(self, task: Task) -> tuple[AsyncReporter | None, JobEvents | None]:
        """Return the reporter, and the events of the task's job if it is reported."""
        try:
            tenant = self._tenant_of(task)  # the application's code, which may raise anything
            reporter = None if tenant is None else self._reporter()
            if tenant is None or reporter is None:
                return None, None
            events = reporter.events_of(
                task.id, tenant=tenant, job_type=task.name[-200:], attempt=task.attempt
            )
            events.check()
        except Exception as error:
            _LOG.warning("task %s is not reported: %s", task.id, described(error))
            return None, None
        return reporter, None if events.silent else events

    def _reporter(self) -> AsyncReporter | None:
        if self._through is None:
            try:
                self._through = AsyncReporter.from_env(
                    spool=self._spool, error_text=self._error_text
                )
            except SettingsError as error:
                if not self._warned:
                    _LOG.warning("tasks are not reported: %s", error)
                self._warned = True
        return self._through


async def _attempt(reporter: AsyncReporter, events: JobEvents, seconds: float) -> int:
    """Return the attempt of a run, which is a later one if its own is known to have ended.

    It waits so many seconds for what readers see of the job.
    """
    served = list[Known]()
    await _called(reporter, lambda: served.extend(_served(reporter, events.key)), seconds)
    known = reporter.attempts.known(events.key)
    others = [each.attempt + State(each.state).ended for each in (*served, known) if each]
    return max(events.attempt, *others, 1)


async def _called(
    reporter: AsyncReporter, function: Callable[[], None], seconds: float = PATIENCE_SECONDS
) -> None:
    """Wait a limited time until the reporter's thread has sent what waits and called a function."""
    loop = asyncio.get_running_loop()
    called: asyncio.Future[None] = loop.create_future()

    def call() -> None:
        function()
        settle(loop, [Outcome(called)])

    reporter.outbox.call(call)
    await asyncio.wait({called}, timeout=seconds)


def _served(reporter: AsyncReporter, job: JobKey) -> Iterator[Known]:
    """Return the attempt that readers see, if Redis is available."""
    appender = reporter.delivery.appender
    try:
        raw = ask(appender.client, "GET", appender.keys.status(job))
    except redis.RedisError:
        return
    # This runs in the reporter's thread, which another writer's value must not disturb.
    try:
        document = None if raw is None else load_json(raw)
    except ValueError:
        return
    if not isinstance(document, dict):
        return
    state = state_in(document, job.kind)
    if state is not None:
        yield Known(attempt_of(document), state)

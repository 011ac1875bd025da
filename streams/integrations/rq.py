"""RQ's jobs as jobs: the calls by which RQ publishes, runs and ends them also append the events.

    from jobtrail.integrations.rq import report_tasks

    report_tasks()

RQ has no signals, so the methods of its queues, jobs and workers are wrapped. Each retry and each
requeue is a new attempt, whose number is kept in the job's `meta`. Jobs without a tenant are not
reported. Inside a job, `current_job()` of jobtrail reports progress. Used by applications with RQ.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..compat.bridge import Bridge
from ..failure import ErrorText, Failure, described
from .methods import Methods
from .publishing import PUBLISH_SECONDS
from .task_reports import Task, TaskReports, TenantOf, tenant_argument
from .time_limits import time_limits

_LOG = logging.getLogger(__name__)
_ATTEMPT = "jobtrail_attempt"
"""Key of a job's `meta`; the first attempt has none."""
_STARTED = frozenset({"started", "finished", "failed", "stopped", "canceled"})
"""States of a job that has run or was taken off its queue; RQ's other states wait for a worker."""
_HELD = frozenset({"deferred", "rate_limited"})
_NO_RETRY_LEFT = Failure("the job asked for a retry, and had no more", "MaxRetriesExceeded")
_STOPS: list[Callable[[], None]] = []
"""The function that ends the present reports, if there is one."""


def report_tasks(
    *,
    tenant_of: TenantOf = tenant_argument,
    through: Bridge | None = None,
    publish_seconds: float = PUBLISH_SECONDS,
    spool: Path | str | None = None,
    error_text: ErrorText | None = None,
) -> Callable[[], None]:
    """Report the jobs of this process from now on; return a function that ends this.

    A second call replaces the first. `tenant_of` returns the tenant of a task, or None for a task
    that is not reported.
    `publish_seconds` is the longest time for which publishing a task waits for Redis, if that is
    unavailable: the job appears when the task starts then.
    `spool` is a directory for ends that could not be appended, and `error_text` returns the text
    that users see of an exception, as those of `Reporter`.

    Raises:
        ValueError, OSError: the spool cannot be used, or `through` has options of its own.
        ImportError: RQ is not installed.
        AttributeError: its version is not supported.
    """
    reports = TaskReports(
        tenant_of,
        through,
        reruns=True,
        publish_seconds=publish_seconds,
        spool=spool,
        error_text=error_text,
    )
    wrappers = _wrappers(_Hooks(reports))
    while _STOPS:
        _STOPS.pop()()
    methods = Methods()
    for owner, name, wrapper in wrappers:
        methods.wrap(owner, name, wrapper)
    _STOPS.append(methods.restore)
    return methods.restore


def _wrappers(hooks: _Hooks) -> list[tuple[type, str, Callable[..., Any]]]:
    """Return the methods of RQ that are wrapped, and their wrappers."""
    from rq import Queue, Worker  # noqa: PLC0415 - only its users have it
    from rq.job import Job  # noqa: PLC0415 - likewise

    return [
        (Queue, "_enqueue_job", hooks.enqueue),
        (Queue, "schedule_job", hooks.enqueue),
        (Queue, "enqueue_job", hooks.hold),
        (Queue, "run_job", hooks.run_in_place),
        (Job, "retry", hooks.retry),
        (Job, "cancel", hooks.cancel),
        (Job, "delete", hooks.delete),
        (Job, "_handle_failure", hooks.abandon),
        (Worker, "perform_job", hooks.perform),
        (Worker, "prepare_job_execution", hooks.start),
        (Worker, "handle_job_success", hooks.succeed),
        (Worker, "handle_job_retry", hooks.retry_as_returned),
        (Worker, "handle_job_failure", hooks.fail),
    ]


class _Hooks:
    """Wrappers of RQ's methods; each calls the method that it is given first."""

    def __init__(self, reports: TaskReports) -> None:
        self._reports = reports
        self._running: set[str] = set()
        self._done: set[str] = set()
        self._errors: dict[str, BaseException] = {}
        """Why jobs have failed, while RQ decides whether they are retried."""

    def enqueue(self, method: Any, queue: Any, job: Any, *args: Any, **kwargs: Any) -> Any:
        # With `unique`, RQ refuses a job whose id it knows.
        if not (kwargs.get("unique") and type(job).exists(job.id, queue.connection)):
            self._queued(job)
        return method(queue, job, *args, **kwargs)

    def hold(self, method: Any, queue: Any, job: Any, *args: Any, **kwargs: Any) -> Any:
        """Report a job that is not enqueued yet, because it waits for others or a rate limit."""
        made = method(queue, job, *args, **kwargs)
        if _status(made) in _HELD:
            # It may have run meanwhile, so that this is no reason to open it again.
            self._tell(made, self._reports.queued)
        return made

    def retry(self, method: Any, job: Any, *args: Any, **kwargs: Any) -> Any:
        job.meta[_ATTEMPT] = _attempt(job) + 1
        job._status = "queued"  # noqa: SLF001 - not failed, which would be one attempt more
        return method(job, *args, **kwargs)

    def cancel(self, method: Any, job: Any, *args: Any, **kwargs: Any) -> Any:
        made = method(job, *args, **kwargs)
        self._tell(job, lambda task: self._reports.cancelled(task, "canceled"))
        return made

    def delete(self, method: Any, job: Any, *args: Any, **kwargs: Any) -> Any:
        waited = _status(job) not in _STARTED
        made = method(job, *args, **kwargs)
        if waited:
            self._tell(job, lambda task: self._reports.cancelled(task, "deleted"))
        return made

    def abandon(self, method: Any, job: Any, *args: Any, **kwargs: Any) -> Any:
        """Report a job whose worker was lost; RQ calls this for all failures that are final."""
        if "AbandonedJobError" in str(args[0] if args else kwargs.get("exc_string")):
            lost = Failure("the worker that ran the job was lost", "AbandonedJobError")
            self._tell(job, lambda task: self._reports.failed(task, lost))
        return method(job, *args, **kwargs)

    def start(self, method: Any, worker: Any, job: Any, *args: Any, **kwargs: Any) -> Any:
        """Report the start after RQ has recorded it, which finds the job if its worker is lost."""
        made = method(worker, job, *args, **kwargs)
        self._enter(job)
        return made

    def perform(self, method: Any, worker: Any, job: Any, *args: Any, **kwargs: Any) -> Any:
        self._running.add(job.id)
        try:
            return method(worker, job, *args, **kwargs)
        finally:
            self._leave(job)

    def succeed(self, method: Any, worker: Any, job: Any, *args: Any, **kwargs: Any) -> Any:
        made = method(worker, job, *args, **kwargs)
        if job.id not in self._done:
            self._tell(job, lambda task: self._reports.done(task, job._result))  # noqa: SLF001
        return made

    def retry_as_returned(
        self, method: Any, worker: Any, job: Any, *args: Any, **kwargs: Any
    ) -> Any:
        made = method(worker, job, *args, **kwargs)
        if _status(job) == "failed":
            self._tell(job, lambda task: self._reports.failed(task, _NO_RETRY_LEFT))
        return made

    def fail(self, method: Any, worker: Any, job: Any, *args: Any, **kwargs: Any) -> Any:
        stopped = worker._stopped_job_id == job.id  # noqa: SLF001 - RQ's own test of it
        ended = stopped or not job.should_retry
        error = _error(kwargs.get("exc_string", ""), running=job.id in self._running)
        self._errors[job.id] = error
        try:
            made = method(worker, job, *args, **kwargs)
        finally:
            del self._errors[job.id]
        if stopped:
            self._tell(job, lambda task: self._reports.cancelled(task, "stopped"))
        elif ended:
            self._tell(job, lambda task: self._reports.failed(task, error))
        return made

    def run_in_place(self, method: Any, queue: Any, job: Any) -> Any:
        """Report a job of a queue that runs its jobs where they are published."""
        self._running.add(job.id)
        self._enter(job)
        try:
            made = method(queue, job)
        except BaseException as error:
            failure = error
            self._tell(job, lambda task: self._reports.failed(task, failure))
            raise
        else:
            self._tell(job, lambda task: self._reports.done(task, job._result))  # noqa: SLF001
            return made
        finally:
            self._leave(job)

    def _queued(self, job: Any) -> None:
        if job.id in self._running and _status(job) == "finished":
            # It repeats, and the next run must not hide that this one has ended.
            self._done.add(job.id)
            self._tell(job, lambda task: self._reports.done(task, job._result))  # noqa: SLF001
        if _status(job) in _STARTED:
            job.meta[_ATTEMPT] = _attempt(job) + 1
        error = self._errors.get(job.id)
        self._tell(
            job,
            lambda task: self._number(job, self._reports.queued(task, again=True, retried=error)),
        )

    def _number(self, job: Any, attempt: int) -> None:
        if attempt > 1:
            job.meta[_ATTEMPT] = attempt

    def _enter(self, job: Any) -> None:
        self._tell(job, self._reports.started)
        self._tell(job, self._reports.entered)

    def _leave(self, job: Any) -> None:
        self._reports.left(job.id)
        self._running.discard(job.id)
        self._done.discard(job.id)

    def _tell(self, job: Any, report: Callable[[Task], object]) -> None:
        try:
            task = Task(job.id, job.func_name, _attempt(job), tuple(job.args), job.kwargs)
        except time_limits():
            raise
        except Exception as error:
            # The arguments cannot be read, for example because this process lacks their classes.
            _LOG.warning("job %s is not reported: %s", job.id, described(error))
            return
        try:
            report(task)
        except time_limits():
            raise
        except Exception as error:
            # RQ's own method has yet to be called, or its caller would take the job for failed.
            _LOG.warning("job %s is not reported: %s", job.id, described(error))


def _status(job: Any) -> str | None:
    status = job.get_status(refresh=False)
    return None if status is None else str(getattr(status, "value", status))


def _attempt(job: Any) -> int:
    attempt = job.meta.get(_ATTEMPT)
    return attempt if isinstance(attempt, int) else 1


def _error(text: str, *, running: bool) -> BaseException:
    """Return why a job has failed: by what it raised or returned, or because its process ended."""
    raised = sys.exc_info()[1]
    if raised is not None or running:
        return raised or _NO_RETRY_LEFT
    return Failure(text.strip(" ;") or "the process of the job has ended", "Killed")

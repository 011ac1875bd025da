"""Celery tasks as jobs: Celery's signals append the events, without a change to the tasks.

    from jobtrail.integrations.celery import report_tasks

    report_tasks(tenant_of=lambda task: task.kwargs.get("tenant_id"))

The id of a task is the id of the job, its name is the job type, and each retry is a new attempt.
Tasks without a tenant are not reported. Inside a task, `current_job()` reports progress.

A report never makes a task fail: an event that cannot be appended is a warning, and an end is
retried before that. Used by applications with Celery.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from signal import valid_signals
from typing import Any
from weakref import WeakValueDictionary

from ..compat.bridge import Bridge
from ..failure import ErrorText, Failure
from .publishing import PUBLISH_SECONDS
from .task_reports import Task, TaskReports, TenantOf, tenant_argument

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
    """Report the tasks of this process from now on; return a function that ends this.

    A second call replaces the first. `tenant_of` returns the tenant of a task, or None for a task
    that is not reported. `publish_seconds` is the longest time for which publishing a task
    waits for Redis, if that is unavailable: the job appears when the task starts then.
    `spool` is a directory for ends that could not be appended, and `error_text` returns the text
    that users see of an exception, as those of `Reporter`.

    Raises:
        ValueError, OSError: the spool cannot be used, or `through` has options of its own.
        ImportError: Celery is not installed.
    """
    from celery import signals  # noqa: PLC0415 - only its users have it

    reports = TaskReports(
        tenant_of, through, publish_seconds=publish_seconds, spool=spool, error_text=error_text
    )
    connected = _Hooks(reports).receivers(signals)

    def stop() -> None:
        for signal, receiver in connected:
            signal.disconnect(receiver)

    while _STOPS:
        _STOPS.pop()()
    _STOPS.append(stop)
    for signal, receiver in connected:
        signal.connect(receiver, weak=False)
    return stop


class _Hooks:
    """Receivers of Celery's signals; each has the arguments that it needs, by name."""

    def __init__(self, reports: TaskReports) -> None:
        self._reports = reports
        # A request lives as long as the worker's main process waits for its end.
        self._received: WeakValueDictionary[str, Any] = WeakValueDictionary()

    def receivers(self, signals: Any) -> list[tuple[Any, Callable[..., None]]]:
        """Return Celery's signals that are received, and their receivers."""
        return [
            (signals.before_task_publish, self.published),
            (signals.worker_ready, self.ready),
            (signals.task_received, self.received),
            (signals.task_prerun, self.started),
            (signals.task_success, self.succeeded),
            (signals.task_failure, self.failed),
            (signals.task_revoked, self.revoked),
            (signals.task_postrun, self.left),
            (signals.task_retry, self.stopped),
            (signals.task_unknown, self.unknown),
        ]

    def published(self, sender: str, headers: Mapping[str, Any], body: Any, **_: Any) -> None:
        args, kwargs = body[0], body[1]
        attempt = int(headers.get("retries") or 0) + 1
        # A task that is retried is published while it handles the exception.
        retried = sys.exc_info()[1] if attempt > 1 else None
        task = Task(headers["id"], sender, attempt, tuple(args), kwargs)
        self._reports.queued(task, retried=retried)

    def ready(self, **_: Any) -> None:
        self._reports.warn_if_unnamed()

    def received(self, request: Any, **_: Any) -> None:
        self._received[request.id] = request

    def started(self, task_id: str, task: Any, **_: Any) -> None:
        run = _run(task.request, task.name, task_id)
        self._reports.started(run)
        self._reports.entered(run)

    def succeeded(self, sender: Any, result: Any, **_: Any) -> None:
        self._reports.done(_run(sender.request, sender.name), result)

    def failed(
        self,
        sender: Any,
        task_id: str,
        exception: BaseException,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> None:
        # If the process that ran the task has ended, the worker's main process sends this signal.
        # There, Celery before 5.7 has only the request that was received, and no current one.
        current = sender.request if sender.request.id == task_id else None
        attempt = _attempt(current or self._received.get(task_id))
        run = Task(task_id, sender.name, attempt, tuple(args or ()), kwargs or {})
        self._reports.failed(run, exception)

    def revoked(
        self,
        request: Any,
        terminated: bool,  # noqa: FBT001 - the signal's own arguments
        expired: bool = False,  # noqa: FBT001, FBT002 - likewise
        **_: Any,
    ) -> None:
        reason = "terminated" if terminated else "expired" if expired else "revoked"
        self._reports.cancelled(_run(request, request.task, request.id), reason)

    def left(self, task_id: str, task: Any, state: str | None, retval: Any, **_: Any) -> None:
        """Report ends that have no signal: `Ignore`, `Reject`, and the exit of the process.

        Celery has no state for an exception that is not an `Exception`. The exception is still
        being handled here; the process exits next, which not every version reports. The end of a
        process that got a signal is left to the worker's main process, which knows its reason.
        """
        run = _run(task.request, task.name, task_id)
        if state == "IGNORED":
            self._reports.cancelled(run, "ignored")
        elif state == "REJECTED" and not getattr(retval, "requeue", False):
            self._reports.failed(run, Failure("the task rejected its message", "Reject"))
        elif state is None and not (task.acks_late and task.reject_on_worker_lost):
            error = sys.exc_info()[1] or SystemExit()
            if not _is_exit_by_signal(error):
                self._reports.failed(run, error)
        self._reports.left(task_id)

    def stopped(self, sender: Any, request: Any, reason: object = None, **_: Any) -> None:
        """Report the end of a task that a cold shutdown stopped after its message was acknowledged.

        The worker's main process sends this signal without a reason then, although nothing retries
        the task. A message that is not acknowledged is delivered again.
        """
        if reason is None and not sender.acks_late:
            failure = Failure("the worker was stopped before the task ended", "WorkerShutdown")
            self._reports.failed(_run(request, sender.name), failure)

    def unknown(self, message: Any, name: str, id: str, **_: Any) -> None:  # noqa: A002
        args, kwargs = message.payload[0], message.payload[1]
        attempt = int(message.headers.get("retries") or 0) + 1
        run = Task(id, name, attempt, tuple(args), kwargs)
        self._reports.failed(run, Failure("no worker knows this task", "NotRegistered"))


def _is_exit_by_signal(error: BaseException) -> bool:
    """Return True for the exception by which a process of the pool ends when it gets a signal.

    Its status is that of `billiard.common._shutdown_cleanup`.
    """
    code = error.code if isinstance(error, SystemExit) else None
    return isinstance(code, int) and code + 256 in valid_signals()


def _run(request: Any, name: str, task_id: str | None = None) -> Task:
    """Return the run of a request: the worker's object, or the context of a running task."""
    args, kwargs = getattr(request, "args", None), getattr(request, "kwargs", None)
    run_id = task_id or request.id
    return Task(run_id, name, _attempt(request), tuple(args or ()), kwargs or {})


def _attempt(request: Any) -> int:
    """Return the attempt of a request, which counts Celery's retries from 1."""
    retries = getattr(request, "retries", None)
    if retries is None:
        retries = getattr(request, "request_dict", {}).get("retries")
    return int(retries or 0) + 1

"""Tasks of Django's tasks framework as jobs: its signals append the events.

    from jobtrail.integrations.django import report_tasks

    report_tasks()

`django.tasks` of Django 6 and the backport `django-tasks` send these signals, with any backend. The
id of a task's result is the id of the job, and the task's name is the job type. Tasks without a
tenant are not reported. Inside a task, `current_job()` reports progress.

A report never makes a task fail: an event that cannot be appended is a warning, and an end is
retried before that. No signal tells that a worker was killed: the next process of the application
that starts or runs a task on this machine reports that. Used by applications with Django.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..compat.bridge import Bridge
from ..failure import ErrorText, Failure
from .lost_tasks import LostTasks
from .publishing import PUBLISH_SECONDS
from .task_reports import Task, TaskReports, TenantOf, tenant_argument

_MODULES = ("django.tasks.signals", "django_tasks.signals")
_SIGNALS = ("task_enqueued", "task_started", "task_finished")
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
    that is not reported.
    `publish_seconds` is the longest time for which publishing a task waits for Redis, if that is
    unavailable: the job appears when the task starts then.
    `spool` is a directory for ends that could not be appended, and `error_text` returns the text
    that users see of an exception, as those of `Reporter`.

    Raises:
        ValueError, OSError: the spool cannot be used, or `through` has options of its own.
        ImportError: neither Django 6 nor django-tasks is installed.
    """
    signals = _signals()
    options: Any = {"publish_seconds": publish_seconds, "spool": spool, "error_text": error_text}
    reports = TaskReports(tenant_of, through, reruns=True, **options)
    hooks = _Hooks(reports, through, spool, error_text)
    connected = [(signal, getattr(hooks, name)) for signal, name in signals]

    def stop() -> None:
        for signal, receiver in connected:
            signal.disconnect(receiver)

    while _STOPS:
        _STOPS.pop()()
    _STOPS.append(stop)
    for signal, receiver in connected:
        signal.connect(receiver, weak=False)
    hooks.lost.report()
    return stop


def _signals() -> list[tuple[Any, str]]:
    """Return the signals of the frameworks that are installed, and their names."""
    modules = filter(None, map(_module, _MODULES))
    signals = [(getattr(module, name), name) for module in modules for name in _SIGNALS]
    if not signals:
        raise ImportError("there is no tasks framework: install Django 6, or django-tasks")
    return signals


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return None


class _Hooks:
    """Receivers of the signals, which call them with the result of a task."""

    def __init__(
        self,
        reports: TaskReports,
        through: Bridge | None,
        spool: Path | str | None,
        error_text: ErrorText | None,
    ) -> None:
        from django.conf import settings  # noqa: PLC0415 - only its users have it

        self._reports = reports
        project = getattr(settings, "SETTINGS_MODULE", "")
        self.lost = LostTasks(
            "django", project, reports, through, spool=spool, error_text=error_text
        )

    def task_enqueued(self, task_result: Any, **_: Any) -> None:
        task = _task(task_result)
        _on_commit(lambda: self._reports.queued(task))

    def task_started(self, task_result: Any, **_: Any) -> None:
        self.lost.report()
        task = _task(task_result)
        self._reports.started(task)
        self._reports.entered(task, coroutine=inspect.iscoroutinefunction(task_result.task.func))
        self.lost.record(task)

    def task_finished(self, task_result: Any, **_: Any) -> None:
        task = _task(task_result)
        if task_result.status == "SUCCESSFUL":
            self._reports.done(task, task_result.return_value)
        else:
            self._reports.failed(task, _failure(task_result))
        self.lost.clear(task.id)
        self._reports.left(task.id)


def _task(result: Any) -> Task:
    attempt = max(1, result.attempts)
    return Task(str(result.id), result.task.name, attempt, tuple(result.args), result.kwargs)


def _on_commit(report: Callable[[], object]) -> None:
    """Call a function once the transaction is committed, before which no worker sees the task."""
    from django.core.exceptions import (  # noqa: PLC0415 - only its users have it
        ImproperlyConfigured,
        SynchronousOnlyOperation,
    )
    from django.db import DatabaseError, transaction  # noqa: PLC0415 - likewise

    try:
        transaction.on_commit(report)
    except (DatabaseError, ImproperlyConfigured, SynchronousOnlyOperation):
        report()  # there is no database, or no transaction that this code could know


def _failure(result: Any) -> BaseException:
    """Return what a task has raised, from the exception that is being handled or the result."""
    raised = sys.exc_info()[1]
    error = result.errors[-1] if result.errors else None
    code = "" if error is None else error.exception_class_path.rpartition(".")[2]
    if raised is not None and code in ("", type(raised).__name__):
        return raised
    last = "" if error is None else (error.traceback or "").strip().rpartition("\n")[2]
    return Failure(last.partition(": ")[2] or code or "the task has failed", code or "Failed")

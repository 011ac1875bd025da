"""Celery tasks as jobs: signals that append their lifecycle, without a line in the tasks.

    from streams.compat_celery import report_tasks

    report_tasks(tenant_of=lambda task: task.kwargs.get("tenant_id"))

A task's id is the job's id, its name the job's type, and each of Celery's retries a new attempt.
Tasks of no tenant are not reported. A task is never failed for its report: what could not be
appended is a warning, save that ends are retried for `end_retry_seconds` first.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from streams.compat import NEVER_RAISED
from streams.compat_bridge import Bridge, Id, if_named
from streams.compat_states import tell_state
from streams.keys import JobKey
from streams.kinds import State

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """What the signals know of one run of a task."""

    id: str
    name: str
    attempt: int
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


TenantOf = Callable[[Task], Id | None]


def tenant_argument(task: Task) -> Id | None:
    """Give the tenant of tasks that take it as the keyword argument `tenant_id`."""
    tenant: Id | None = task.kwargs.get("tenant_id")
    return tenant


def report_tasks(
    *, tenant_of: TenantOf = tenant_argument, through: Bridge | None = None
) -> Callable[[], None]:
    """Report every task of this process from now on; gives what ends that.

    Raises:
        ImportError: Celery is not installed.
    """
    from celery import signals  # noqa: PLC0415 - only its users have it

    hooks = _Hooks(tenant_of, through)
    connected = [
        (signals.before_task_publish, hooks.published),
        (signals.task_prerun, hooks.started),
        (signals.task_success, hooks.succeeded),
        (signals.task_failure, hooks.failed),
        (signals.task_revoked, hooks.revoked),
    ]
    for signal, receiver in connected:
        signal.connect(receiver, weak=False)

    def stop() -> None:
        for signal, receiver in connected:
            signal.disconnect(receiver)

    return stop


class _Hooks:
    """Receivers of Celery's signals; each takes what it needs of them by name."""

    def __init__(self, tenant_of: TenantOf, through: Bridge | None) -> None:
        self._tenant_of = tenant_of
        self._bridge = through

    def published(self, sender: str, headers: Mapping[str, Any], body: Any, **_: Any) -> None:
        args, kwargs = body[0], body[1]
        attempt = int(headers.get("retries") or 0) + 1
        self._tell(Task(headers["id"], sender, attempt, tuple(args), kwargs), State.QUEUED)

    def started(self, task_id: str, task: Any, **_: Any) -> None:
        self._tell(_run(task.request, task.name, task_id), State.PROCESSING)

    def succeeded(self, sender: Any, result: Any, **_: Any) -> None:
        told = result if isinstance(result, dict) else {"value": result}
        self._tell(_run(sender.request, sender.name), State.DONE, result=told)

    def failed(self, sender: Any, task_id: str, exception: BaseException, **_: Any) -> None:
        error = str(exception) or type(exception).__name__
        code = type(exception).__name__
        run = _run(sender.request, sender.name, task_id)
        self._tell(run, State.FAILED, error=error[:2000], code=code[:200])

    def revoked(self, request: Any, terminated: bool, **_: Any) -> None:  # noqa: FBT001 - Celery's
        reason = "terminated" if terminated else "revoked"
        self._tell(_run(request, request.task, request.id), State.CANCELLED, reason=reason)

    def _tell(self, task: Task, state: State, **fields: Any) -> None:
        try:
            tenant = self._tenant_of(task)
            if tenant is None:
                return
            job = JobKey(str(tenant), "job", task.id)
            fields["job_type"] = task.name[-200:]
            bridge = if_named(self._bridge)
            if bridge is not None:
                tell_state(bridge, job, state, task.attempt, **fields)
        except NEVER_RAISED as error:
            _LOG.warning("%s of task %s was not appended: %s", state, task.id, error)


def _run(request: Any, name: str, task_id: str | None = None) -> Task:
    """Read a request: the worker's own object, or the context of the running task."""
    retries = getattr(request, "retries", None) or 0
    args, kwargs = getattr(request, "args", None), getattr(request, "kwargs", None)
    return Task(task_id or request.id, name, int(retries) + 1, tuple(args or ()), kwargs or {})

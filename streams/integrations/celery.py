"""Celery tasks as jobs: signals that append their lifecycle, without a line in the tasks.

    from streams.integrations.celery import report_tasks

    report_tasks(tenant_of=lambda task: task.kwargs.get("tenant_id"))

A task's id is the job's id, its name the job's type, and each of Celery's retries a new attempt.
Tasks of no tenant are not reported. A task is never failed for its report: what could not be
appended is a warning, save that ends are retried for `end_retry_seconds` first.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

from ..compat.bridge import Bridge, Id, if_named
from ..compat.progress import NEVER_RAISED
from ..compat.states import tell_state
from ..failure import failure_of
from ..keys import JobKey
from ..kinds import State

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
        (signals.task_received, hooks.received),
        (signals.task_prerun, hooks.started),
        (signals.task_success, hooks.succeeded),
        (signals.task_failure, hooks.failed),
        (signals.task_revoked, hooks.revoked),
        (signals.task_postrun, hooks.left),
        (signals.task_unknown, hooks.unknown),
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
        # A request lives as long as the worker's main process waits for its end.
        self._received: WeakValueDictionary[str, Any] = WeakValueDictionary()

    def published(self, sender: str, headers: Mapping[str, Any], body: Any, **_: Any) -> None:
        args, kwargs = body[0], body[1]
        attempt = int(headers.get("retries") or 0) + 1
        self._tell(Task(headers["id"], sender, attempt, tuple(args), kwargs), State.QUEUED)

    def received(self, request: Any, **_: Any) -> None:
        self._received[request.id] = request

    def started(self, task_id: str, task: Any, **_: Any) -> None:
        self._tell(_run(task.request, task.name, task_id), State.PROCESSING)

    def succeeded(self, sender: Any, result: Any, **_: Any) -> None:
        told = result if isinstance(result, dict) else {"value": result}
        self._tell(_run(sender.request, sender.name), State.DONE, result=told)

    def failed(
        self,
        sender: Any,
        task_id: str,
        exception: BaseException,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> None:
        # Where the process that ran the task is gone, the worker's main process sends this signal.
        # Celery before 5.7 has no current request there, only the one that was received.
        current = sender.request if sender.request.id == task_id else None
        attempt = _attempt(current or self._received.get(task_id))
        failure = failure_of(exception)
        run = Task(task_id, sender.name, attempt, tuple(args or ()), kwargs or {})
        self._tell(run, State.FAILED, error=failure.error, code=failure.code)

    def revoked(
        self,
        request: Any,
        terminated: bool,  # noqa: FBT001 - the signal's own arguments
        expired: bool = False,  # noqa: FBT001, FBT002 - likewise
        **_: Any,
    ) -> None:
        reason = "terminated" if terminated else "expired" if expired else "revoked"
        self._tell(_run(request, request.task, request.id), State.CANCELLED, reason=reason)

    def left(self, task_id: str, task: Any, state: str | None, retval: Any, **_: Any) -> None:
        """Report the ends for which Celery has no signal: `Ignore`, `Reject`, a process that exits.

        Celery has no state for an exception that is not an `Exception`. It is still being handled
        here; the process exits next, and not every version reports that.
        """
        run = _run(task.request, task.name, task_id)
        if state == "IGNORED":
            self._tell(run, State.CANCELLED, reason="ignored")
        elif state == "REJECTED" and not getattr(retval, "requeue", False):
            self._tell(run, State.FAILED, error="the task rejected its message", code="Reject")
        elif state is None and not (task.acks_late and task.reject_on_worker_lost):
            failure = failure_of(sys.exc_info()[1] or SystemExit())
            self._tell(run, State.FAILED, error=failure.error, code=failure.code)

    def unknown(self, message: Any, name: str, id: str, **_: Any) -> None:  # noqa: A002
        args, kwargs = message.payload[0], message.payload[1]
        attempt = int(message.headers.get("retries") or 0) + 1
        run = Task(id, name, attempt, tuple(args), kwargs)
        self._tell(run, State.FAILED, error="no worker knows this task", code="NotRegistered")

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
    """Return the run of a request: the worker's own object, or the context of the running task."""
    args, kwargs = getattr(request, "args", None), getattr(request, "kwargs", None)
    run_id = task_id or request.id
    return Task(run_id, name, _attempt(request), tuple(args or ()), kwargs or {})


def _attempt(request: Any) -> int:
    """Return the attempt that a request is: a running task's context, or the worker's object."""
    retries = getattr(request, "retries", None)
    if retries is None:
        retries = getattr(request, "request_dict", {}).get("retries")
    return int(retries or 0) + 1

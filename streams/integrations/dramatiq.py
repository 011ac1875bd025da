"""Dramatiq's messages as jobs: a middleware of the broker appends the events.

    from jobtrail.integrations.dramatiq import report_tasks

    report_tasks()

The id of a message is the id of the job, the name of its actor is the job type, and each retry is a
new attempt. Messages without a tenant are not reported. Inside an actor, `current_job()` reports
progress. Used by applications with Dramatiq.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..compat.bridge import Bridge
from ..failure import ErrorText, Failure, text_of
from .publishing import PUBLISH_SECONDS
from .task_reports import Task, TaskReports, TenantOf, tenant_argument


def report_tasks(
    broker: Any = None,
    *,
    tenant_of: TenantOf = tenant_argument,
    through: Bridge | None = None,
    publish_seconds: float = PUBLISH_SECONDS,
    spool: Path | str | None = None,
    error_text: ErrorText | None = None,
) -> Callable[[], None]:
    """Report the messages of a broker from now on; return a function that ends this.

    A second call for the same broker replaces the first.

    Args:
        broker: by default the one that was set with `dramatiq.set_broker`.
        tenant_of: returns the tenant of a task, or None for a task that is not reported.
        through: where events are appended; by default to the Redis in `JOBTRAIL_REDIS_URL`.
        publish_seconds: the longest time for which publishing a task waits for Redis.
        spool: option of `Reporter`.
        error_text: option of `Reporter`.

    Raises:
        ValueError, OSError: the spool cannot be used, or `through` has options of its own.
        ImportError: Dramatiq is not installed.
    """
    from dramatiq import Middleware, get_broker  # noqa: PLC0415 - only its users have it
    from dramatiq.middleware import Retries, TimeLimit  # noqa: PLC0415 - likewise

    made = type("Reports", (_Hooks, Middleware), {})
    used: Any = get_broker() if broker is None else broker
    used.middleware[:] = [each for each in used.middleware if not isinstance(each, _Hooks)]
    # What happens after a message goes through the list from its end: retries are known by then,
    # and no time limit interrupts a report.
    places = [each for each in used.middleware if isinstance(each, TimeLimit | Retries)]
    options: Any = {"publish_seconds": publish_seconds, "spool": spool, "error_text": error_text}
    reports = made(TaskReports(tenant_of, through, **options))
    used.add_middleware(reports, before=type(places[0]) if places else None)
    return lambda: _remove(used, reports)


def _remove(broker: Any, middleware: Any) -> None:
    if middleware in broker.middleware:
        broker.middleware.remove(middleware)


class _Hooks:
    """Hooks of the middleware, by the names that Dramatiq has for them."""

    def __init__(self, reports: TaskReports) -> None:
        self._reports = reports
        self._running: dict[str, Task] = {}
        self._retried: set[str] = set()

    def before_enqueue(self, broker: Any, message: Any, delay: int | None) -> None:  # noqa: ARG002
        retried = message.message_id in self._running
        if retried:
            self._retried.add(message.message_id)
        # The worker still handles the exception of a message that is retried.
        self._reports.queued(_task(message), retried=sys.exc_info()[1] if retried else None)

    def before_process_message(self, broker: Any, message: Any) -> None:  # noqa: ARG002
        task = self._running[message.message_id] = _task(message)
        self._reports.started(task)
        self._reports.entered(task)

    def after_process_message(
        self,
        broker: Any,  # noqa: ARG002 - the hook's own arguments
        message: Any,
        *,
        result: Any = None,
        exception: BaseException | None = None,
    ) -> None:
        task = self._running.get(message.message_id, _task(message))
        if exception is None and message.failed:
            rejected = Failure("a middleware rejected the message", "Rejected")
            self._reports.failed(task, rejected)
        elif exception is None:
            self._reports.done(task, result)
        elif message.message_id not in self._retried:
            self._reports.failed(task, exception)
        self._leave(message.message_id)

    def after_skip_message(self, broker: Any, message: Any) -> None:  # noqa: ARG002
        reason = getattr(message, "_exception", None)
        task = self._running.get(message.message_id, _task(message))
        self._reports.cancelled(task, text_of(reason) if reason else "skipped")
        self._leave(message.message_id)

    def after_nack(self, broker: Any, message: Any) -> None:  # noqa: ARG002
        """Report messages that no worker could process, because it has no such actor."""
        error = getattr(message, "_exception", None)
        if error is not None and type(error).__name__ == "ActorNotFound":
            self._reports.failed(_task(message), error)

    def _leave(self, message_id: str) -> None:
        self._reports.left(message_id)
        self._running.pop(message_id, None)
        self._retried.discard(message_id)


def _task(message: Any) -> Task:
    attempt = int(message.options.get("retries") or 0) + 1
    name, args = message.actor_name, tuple(message.args)
    return Task(message.message_id, name, attempt, args, message.kwargs)

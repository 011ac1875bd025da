"""Tasks of a queue as jobs: what the integrations of all frameworks have in common.

An integration turns what its framework passes to it into a `Task` and calls `TaskReports`. The id
of a task is the id of the job, its name is the job type, and each retry is a new attempt. Used by
the other modules of this folder.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import redis

from ..async_job_report import AsyncJobReport
from ..compat.bridge import Bridge, Id, attempt_of, if_named, state_in
from ..compat.states import append_state
from ..failure import ErrorText, described, operator_text
from ..job_report import JobReport
from ..keys import JobKey
from ..kinds import State
from ..reporting import current
from ..reporting.values import as_text, plain
from ..spool import Spool
from .publishing import PUBLISH_SECONDS, Publishing, SecondsLeft
from .time_limits import time_limits

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """One run of a task, as its framework describes it."""

    id: str
    name: str
    attempt: int = 1
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)


_ENDS: AbstractSet[State] = frozenset(state for state in State if state.ended)

TenantOf = Callable[[Task], Id | None]
"""Returns the tenant of a task, or None for a task that is not reported."""


def tenant_argument(task: Task) -> Id | None:
    """Return the tenant of a task that has it as the keyword argument `tenant_id`.

    A task with positional arguments alone is not reported, and a warning says so once for its name.
    """
    if task.args and "tenant_id" not in task.kwargs:
        _warn_of_missing_tenant(task.name)
    tenant: Id | None = task.kwargs.get("tenant_id")
    return tenant


@lru_cache(maxsize=1_000)
def _warn_of_missing_tenant(name: str) -> None:
    _LOG.warning(
        "task %s is not reported: it has no keyword argument tenant_id; "
        "pass it by its name, or pass tenant_of to the integration",
        name,
    )


def check_options(spool: Path | str | None, error_text: ErrorText | None, through: object) -> None:
    """Check the options of the reporter that is made if there is no `through`.

    A spool must be usable before there are ends that it must keep.

    Raises:
        ValueError: what events are sent through has these options.
        UnsafeSpool, OSError: the directory of the spool cannot be used.
    """
    for name, value in (("spool", spool), ("error_text", error_text)):
        if value is not None and through is not None:
            raise ValueError(f"{name} is an option of the reporter of `through`: set it there")
    if spool is not None:
        Spool(Path(spool))


class TaskReports:
    """Reports what happens to tasks; safe to share between threads, and to use after a fork.

    No call raises, so that no task fails because of its report: what cannot be appended is a
    warning, and an end is retried before that. Only the time limit of a task, which may be reached
    in a call, is raised. A state that readers have already seen is not
    appended again, because frameworks report some ends twice. Calls wait for Redis: on an asyncio
    loop they belong into `asyncio.to_thread`, except `entered` and `left`.

    Args:
        tenant_of: returns the tenant of a task, or None for a task that is not reported.
        through: where events are appended; by default to the Redis in `JOBTRAIL_REDIS_URL`.
        reruns: True if a task that is done may run again under its id, because the framework
            delivers no task twice. Otherwise a task that starts after it was done stays done.
        publish_seconds: the longest time for which `queued` waits for Redis. What is lost then is
            counted, and logged once.
        spool, error_text: options of the reporter that is made if there is no `through`.

    Raises:
        ValueError: there are both `through` and such an option, or `publish_seconds` is 0 or less.
        UnsafeSpool, OSError: the spool's directory cannot be used.
    """

    def __init__(
        self,
        tenant_of: TenantOf = tenant_argument,
        through: Bridge | None = None,
        *,
        reruns: bool = False,
        publish_seconds: float = PUBLISH_SECONDS,
        spool: Path | str | None = None,
        error_text: ErrorText | None = None,
    ) -> None:
        check_options(spool, error_text, through)
        self._publishing = Publishing(publish_seconds)
        self._tenant_of = tenant_of
        self._bridge = through
        self._spool = spool
        self._error_text = error_text
        self._reopened = _ENDS if reruns else _ENDS - {State.DONE}
        self._attempts: dict[str, int] = {}
        """Attempts of the tasks that run in this process."""
        self._ended: dict[str, int] = {}
        """Attempts that this process has reported as lost, which readers may not have seen yet."""
        self._jobs: dict[str, JobReport | AsyncJobReport] = {}
        """The current jobs of the tasks that run in this process."""
        self._before: dict[str, object] = {}
        """Jobs that were current before each running task, for tasks that run others in place."""

    def warn_if_unnamed(self) -> None:
        """Log a warning if no Redis is set, so that nothing will be reported."""
        self._server()

    def queued(
        self, task: Task, *, again: bool = False, retried: BaseException | None = None
    ) -> int:
        """Report that a task waits for a worker, before a worker can get it; return the attempt.

        `again` is True if a task that has ended may run once more under its id. `retried` is why
        the attempt before has failed, which only operators see.
        """
        running = self._attempts.get(task.id)  # it is retried
        expected = task.attempt if running is None else max(task.attempt, running + 1)
        found = self._addressed(task, State.QUEUED)
        if found is None:
            return expected
        bridge, job = found
        reopened = _ENDS if again else frozenset[State]()
        detail = None if retried is None else operator_text(retried)

        def append(seconds_left: SecondsLeft) -> int:
            attempt = self._attempt(bridge, job, task, State.QUEUED, reopened)
            append_state(
                bridge,
                job,
                State.QUEUED,
                attempt,
                seconds_left=seconds_left,
                job_type=task.name[-200:],
                operator_detail=detail,
            )
            return attempt

        return self._publishing.report(task.id, append) or expected

    def started(self, task: Task) -> None:
        """Report that a task starts.

        If this attempt has already failed or was cancelled, as that of a worker that was believed
        dead, it is the next attempt; with `reruns` also if it is done.
        """
        self._report(task, State.PROCESSING, reopened=self._reopened)

    def entered(self, task: Task, *, coroutine: bool = False) -> None:
        """Make the job of a task that has started the current one, until `left` is called.

        `coroutine` is True if the task must not block a loop.
        """
        job = self._current_job(task, coroutine=coroutine)
        if job is not None:
            self._jobs[task.id] = job
        self._before[task.id] = current.enter(job)

    @property
    def lost(self) -> int:
        """The number of tasks that were published without being reported as queued."""
        return self._publishing.losses.lost

    def left(self, task_id: str) -> None:
        """Make the job from before a task the current one again."""
        self._attempts.pop(task_id, None)
        self._ended.pop(task_id, None)
        self._jobs.pop(task_id, None)
        if task_id in self._before:
            current.leave(self._before.pop(task_id))

    def done(self, task: Task, result: object) -> None:
        """Report that a task has returned a value."""
        self._report(task, State.DONE, lambda _: {"result": _as_result(result)})

    def failed(self, task: Task, error: BaseException) -> None:
        """Report that the last attempt of a task has failed."""
        self._report(task, State.FAILED, lambda bridge: bridge.failure_of(error)._asdict())

    def cancelled(self, task: Task, reason: str) -> None:
        """Report that a task was cancelled."""
        self._report(task, State.CANCELLED, lambda _: {"reason": reason})

    def has_ended(self, task: Task) -> None:
        """Record that an attempt has ended, so that a later run of the task is the next one."""
        self._ended[task.id] = task.attempt

    def identity(self, task: Task) -> dict[str, Any] | None:
        """Return tenant, id, name and attempt of a task that has started, or None.

        It is None if the task is not reported.
        """
        try:
            job = self.job(task)
        except time_limits():
            raise
        except Exception:  # of the application; `started` has logged it
            return None
        if job is None:
            return None
        attempt = self._attempts.get(task.id, task.attempt)
        return {"tenant": job.tenant, "id": task.id, "name": task.name, "attempt": attempt}

    def job(self, task: Task) -> JobKey | None:
        """Return the job of a task, or None if the task is not reported.

        It raises what `tenant_of` raises.
        """
        tenant = self._tenant_of(task)
        return None if tenant is None else JobKey(str(as_text(tenant)), "job", task.id)

    def _current_job(self, task: Task, *, coroutine: bool) -> JobReport | AsyncJobReport | None:
        """Return the report by which a running task reports progress, or None."""
        try:
            job = self.job(task)
            bridge = None if job is None else self._server()
            if job is None or bridge is None:
                return None
            attempt = self._attempts.get(task.id, task.attempt)
            report = bridge.async_report if coroutine else bridge.report
            return report(job, attempt, task.name)
        except time_limits():
            raise
        except Exception as error:
            _LOG.warning("task %s has no current job: %s", task.id, described(error))
            return None

    def _report(
        self,
        task: Task,
        state: State,
        fields: Callable[[Bridge], Mapping[str, Any]] = lambda _: {},
        *,
        reopened: AbstractSet[State] = frozenset(),
    ) -> int:
        attempt = task.attempt
        found = self._addressed(task, state)
        if found is None:
            return attempt
        bridge, job = found
        # The code of a result or an error is the application's, and may raise anything.
        try:
            attempt = self._attempt(bridge, job, task, state, reopened)
            if state is State.PROCESSING:
                self._attempts[task.id] = attempt
            if state.ended and task.id in self._jobs:
                bridge.hand_over(self._jobs[task.id])
            values = fields(bridge)
            append_state(bridge, job, state, attempt, job_type=task.name[-200:], **values)
        except time_limits():
            raise
        except Exception as error:
            _LOG.warning("%s of task %s was not appended: %s", state, task.id, described(error))
        return attempt

    def _server(self) -> Bridge | None:
        """Return where events are appended; None, with a warning, if no Redis is set."""
        own = self._spool is None and self._error_text is None
        if own or self._bridge is not None:
            return if_named(self._bridge)
        self._bridge = if_named(None, self._spool, self._error_text)
        return self._bridge

    def _addressed(self, task: Task, state: State) -> tuple[Bridge, JobKey] | None:
        """Return where the job of a task is reported, or None if it is not."""
        try:
            job = self.job(task)  # `tenant_of` is the application's, and may raise anything
            bridge = None if job is None else self._server()
        except time_limits():
            raise
        except Exception as error:
            _LOG.warning("%s of task %s was not appended: %s", state, task.id, described(error))
            return None
        return None if job is None or bridge is None else (bridge, job)

    def _attempt(
        self, bridge: Bridge, job: JobKey, task: Task, state: State, reopened: AbstractSet[State]
    ) -> int:
        """Return the attempt of a report; after an end in `reopened` it is the next attempt.

        It is that of the framework, unless readers have seen a later one, as of a task that was
        sent to a worker again after its end, or this process has just reported its end.
        """
        running = self._attempts.get(task.id)
        if running is not None and state is State.QUEUED:
            return max(task.attempt, running + 1)  # a retry
        if running is not None and state is not State.PROCESSING:
            return running
        least = max(task.attempt, self._ended.get(task.id, 0) + 1)
        try:
            served = bridge.served(job)
        except redis.RedisError:
            return least
        last, known = attempt_of(served), state_in(served, job.kind)
        if known is None or last < least:
            return least
        return last + 1 if known in reopened else last


def _as_result(value: object) -> dict[str, Any]:
    """Return what a task has returned as the result of its job."""
    made = plain(value, lambda _: None)
    return made if isinstance(made, dict) else {"value": made}

"""AsyncReporter: how a worker on an asyncio loop reports its jobs, without blocking the loop.

    reporter = AsyncReporter.from_url("redis://127.0.0.1:6379/0")
    async with reporter.job("a1", tenant="42", job_type="excel") as job:
        ...

It sends by two threads of its own (`reporting/outbox.py`). So connections, name lookups and the
disk of the spool never block the loop, one reporter serves any number of loops, also one after the
other, and what was reported is sent even if the loop has ended. Used by `streams`,
`streams.recording`, `streams.reporter` and `streams.tasks`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from .async_job_report import AsyncJobReport
from .payloads import Prepared
from .reporting.base import Attempt, Id, Labels, ReporterBase
from .reporting.job_events import JobEvents
from .reporting.outbox import Call, Outbox
from .reporting.turns import TURN, Outcome, settle
from .tasks import Decorator, TaskOptions, task_decorator


class AsyncReporter(ReporterBase):
    """Makes job reports for coroutines; the arguments are those of `Reporter`.

    It may be shared between loops and threads, and may be used by `async with`, which closes it.
    """

    outbox: Outbox
    """Sends the events."""

    def _start(self) -> None:
        self.outbox = Outbox(self.delivery)
        if self.delivery.has_spool:
            self.outbox.call(self.delivery.send_spooled)

    @classmethod
    def sharing(cls, other: ReporterBase) -> Self:
        """Return a reporter that shares the options, the delivery and the memory of another."""
        shared = super().sharing(other)
        shared.outbox = Outbox(other.delivery)
        return shared

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Wait until all that was reported is sent, dropped, spooled or given up, then disconnect.

        Only connections that `from_url` or `from_env` made are closed; a later call opens new ones.
        """
        await _called(self.outbox.after_all, self._close)

    def _close(self) -> None:
        if self._owned is not None:
            self._owned.close()

    def job(
        self,
        id: Id,  # noqa: A002 - the contract's word
        *,
        tenant: Id,
        kind: str = "job",
        job_type: str | None = None,
        attempt: Attempt = 1,
        labels: Labels | None = None,
        traceparent: str | None = None,
    ) -> AsyncJobReport:
        """Return the report of one attempt of a job, to be used by `async with`.

        The arguments are those of `Reporter.job`. They are checked when the block begins, which
        raises InvalidEvent or InvalidTenant if the reporter is strict.
        """

        def events() -> JobEvents:
            return self.events_of(
                id,
                tenant=tenant,
                kind=kind,
                job_type=job_type,
                attempt=attempt,
                labels=labels,
                traceparent=traceparent,
            )

        return AsyncJobReport(self, events, find_attempt=attempt == "next")

    async def queued(
        self,
        id: Id,  # noqa: A002 - the contract's word
        *,
        tenant: Id,
        kind: str = "job",
        job_type: str | None = None,
        attempt: Attempt = 1,
        labels: Labels | None = None,
        traceparent: str | None = None,
    ) -> None:
        """Report that a job waits for a worker; the arguments are those of `job`.

        Raises:
            InvalidEvent, InvalidTenant: an argument is not valid, and the reporter is strict.
            LogUnavailable: Redis was unavailable for `end_retry_seconds`, and there is no spool.
        """
        await TURN
        events = self.events_of(
            id,
            tenant=tenant,
            kind=kind,
            job_type=job_type,
            attempt=attempt,
            labels=labels,
            traceparent=traceparent,
        )
        if events.silent:
            return
        if attempt == "next":
            events.attempt = await self.next_attempt(events)
        if (event := events.queued()) is not None:
            self.ended(events, event)
            await self.outbox.end(events.tenant, event, ())

    def task(
        self,
        *,
        tenant: Id | Callable[..., Id],
        id: Id | Callable[..., Id] | None = None,  # noqa: A002 - the contract's word
        kind: str = "job",
        job_type: str | None = None,
        attempt: Attempt | Callable[..., Attempt] = 1,
        labels: Labels | Callable[..., Labels] | None = None,
    ) -> Decorator:
        """Return a decorator that runs each call of a coroutine, or of a function, as a job.

        The arguments are those of `Reporter.task`. A function that is not a coroutine waits for
        Redis in its own thread.
        """
        from .reporter import Reporter  # noqa: PLC0415 - each makes the other

        options = TaskOptions(tenant, id, kind, job_type, attempt, labels)
        return task_decorator(options, lambda: Reporter.sharing(self), lambda: self)

    async def next_attempt(self, events: JobEvents) -> int:
        """Return the next attempt of a job, which is read from Redis by another thread.

        Raises:
            InvalidEvent: the job is not valid, and mistakes are strict.
        """
        events.check()
        if events.silent:
            return 1  # nothing of the job is reported, and its id may be unfit for a key
        found: list[int] = []
        await _called(self.outbox.call, lambda: found.append(self.find_attempt(events)))
        return found[0]

    def ended(self, events: JobEvents, end: Prepared) -> None:
        """Remember an end of a job."""
        self.attempts.record(events.key, events.attempt, end.type)


async def _called(schedule: Callable[[Call], None], function: Callable[[], object]) -> None:
    """Wait until another thread has called a function; raises what the function raises."""
    loop = asyncio.get_running_loop()
    waiting: asyncio.Future[None] = loop.create_future()

    def call() -> None:
        error: Exception | None = None
        try:
            function()
        except Exception as raised:
            error = raised
        settle(loop, [Outcome(waiting, error, "what was reported")])

    schedule(call)
    await waiting

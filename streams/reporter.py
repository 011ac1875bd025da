"""Reporter: how a worker reports its jobs while Redis is available, and while it is not.

    reporter = Reporter.from_url("redis://127.0.0.1:6379/0")
    with reporter.job("a1", tenant="42", job_type="excel") as job:
        ...

A worker makes one reporter for its process. *Progress* is best effort: while Redis is unavailable
it is dropped with a warning. *Ends* (`done`, `failed`, `cancelled`) are appended durably and at
once; while Redis is unavailable they are retried for a limited time, and then raised or spooled.
Workers on an asyncio loop take `AsyncReporter`, because this one waits in its calls. Used by
`ops.tasks.reporting`, `streams` and `workers.roster.importer`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from .events import Event
from .job_report import JobReport
from .payloads import Prepared
from .reporting.base import Attempt, Id, Labels, ReporterBase
from .reporting.job_events import JobEvents
from .reporting.mistakes import warn_at_caller
from .tasks import Decorator, TaskOptions, task_decorator

if TYPE_CHECKING:
    from .async_reporter import AsyncReporter

_ON_LOOP = (
    "a blocking Reporter is called on a running event loop, which waits for Redis with it: "
    "use AsyncReporter and `async with`"
)


class Reporter(ReporterBase):
    """Makes job reports that share one connection; safe to share between threads.

    It may be used as a context manager, which closes it.

    Args:
        appender: how events are appended.
        worker: name of the process that reports; by default its host and process id.
        progress_per_second: most progress events that one job appends in a second.
        end_retry_seconds: how long an end is retried while Redis is unavailable.
        silence_seconds: how long progress is dropped without a try after Redis was unavailable.
        spool: a directory for ends that could not be appended; without one they raise
            LogUnavailable. Ends that an earlier process left there are sent at once.
        durable_ends: True if an end waits until the server's disk and replicas have it. That takes
            up to a second where the disk is synced once a second.
        strict: True if a value that is not valid is raised. Otherwise it is left out with a warning
            that names the calling line, so that no mistake in a report fails a job that works.
        error_text: returns the text that users see of an exception, or None if they see its code
            alone; operators see its own text. By default users see its own text.
        clock: seconds of a clock that never goes back.

    Raises:
        ValueError: `progress_per_second` is not above 0.
        UnsafeSpool, OSError: the spool's directory cannot be used.
    """

    _warned = False
    _asynchronous: AsyncReporter | None = None

    def _start(self) -> None:
        self.delivery.send_spooled()

    def _for_coroutines(self) -> AsyncReporter:
        """Return the reporter of decorated coroutines."""
        from .async_reporter import AsyncReporter  # noqa: PLC0415 - each makes the other

        if self._asynchronous is None:
            self._asynchronous = AsyncReporter.sharing(self)
        return self._asynchronous

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that `from_url` or `from_env` made; a later call opens new ones."""
        if self._asynchronous is not None:
            self._asynchronous.outbox.finish()
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
    ) -> JobReport:
        """Return the report of one attempt of a job, to be used as a context manager.

        The attempt `next` is the one after the last that Redis or this reporter knows; the Redis
        user must be allowed to read the status documents and streams then. The events carry
        `traceparent`, or else that of the span that the context manager opens.

        Raises:
            InvalidEvent, InvalidTenant: an argument is not valid, and the reporter is strict.
        """
        events = self.events_of(
            id,
            tenant=tenant,
            kind=kind,
            job_type=job_type,
            attempt=attempt,
            labels=labels,
            traceparent=traceparent,
        )
        events.check()
        return JobReport(self, events, find_attempt=attempt == "next")

    def queued(
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
        events = self.events_of(
            id,
            tenant=tenant,
            kind=kind,
            job_type=job_type,
            attempt=attempt,
            labels=labels,
            traceparent=traceparent,
        )
        if attempt == "next":
            events.check()
        if events.silent:
            return
        if attempt == "next":
            events.attempt = self.find_attempt(events)
        if (event := events.queued()) is not None:
            self.send_end(events, event, None)

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
        """Return a decorator that runs each call of a function, or of a coroutine, as a job.

        Each argument may be a function of the call's arguments. By default each call has a new id,
        and the job type is the function's name. What the function returns is the result.
        `current_job()` is the job inside of it. A coroutine is reported without blocking its loop.
        """
        options = TaskOptions(tenant, id, kind, job_type, attempt, labels)
        return task_decorator(options, lambda: self, self._for_coroutines)

    def append_or_drop(self, tenant: str, event: Event) -> bool:
        """Append an event that may be lost; return False if it was dropped.

        The first event that is dropped is a warning; for `silence_seconds` after it others are
        dropped without a try and without a warning.
        """
        return self.send_or_drop(tenant, self.delivery.prepared(event))

    def append_with_retries(
        self,
        tenant: str,
        end: Event,
        before: Event | None = None,
        *,
        retry_seconds: float | None = None,
    ) -> None:
        """Append an end, and the last progress before it in the same round trip.

        It is retried for `end_retry_seconds`, or for `retry_seconds` if that is given. An end that
        was appended, but is not durable after that time, is spooled; without a spool it is a
        warning, because its job has ended for all readers.

        Raises:
            LogUnavailable: Redis was unavailable for that time, and there is no spool.
        """
        self._warn_on_loop()
        earlier = [self.delivery.prepared(before)] if before else []
        prepared = self.delivery.prepared(end)
        self.delivery.send_end(tenant, prepared, earlier, retry_seconds=retry_seconds)

    def send_or_drop(self, tenant: str, event: Prepared) -> bool:
        """Append an event that may be lost, as `append_or_drop` does."""
        self._warn_on_loop()
        return self.delivery.send_or_drop([(tenant, event)])

    def send_end(self, events: JobEvents, end: Prepared, before: Prepared | None) -> None:
        """Append an end of a job, as `append_with_retries` does."""
        self._warn_on_loop()
        self.attempts.record(events.key, events.attempt, end.type)
        self.delivery.send_end(events.tenant, end, [before] if before else [])

    def _warn_on_loop(self) -> None:
        if self._warned:
            return
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return
        self._warned = True
        warn_at_caller(_ON_LOOP, RuntimeWarning)

"""Job reports for coroutines: the words of `JobReport`, and nothing that blocks the event loop.

`AsyncReporter.job` returns a report, and the coroutine uses it as a context manager:

    async with reporter.job("a1", tenant="42", job_type="excel") as job:
        await job.progress("parsing", percent=10)
        await job.done({"rows": 5000})

Events are built where they are reported. Progress is sent by the reporter's threads, and to await
it gives other coroutines their turn. An end is awaited until it was appended. If its coroutine is
cancelled meanwhile, the end is sent nevertheless. Used by `streams`, `streams.async_reporter` and
`streams.tracking`.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Protocol, Self

from .events import Processing
from .payloads import Prepared
from .reporting.job_base import JobReportBase
from .reporting.job_events import JobEvents, Later
from .reporting.outbox import Outbox
from .reporting.pace import Pace
from .reporting.steps import AsyncStep
from .reporting.turns import TURN
from .reporting.waiting import Item

_LOG = logging.getLogger(__name__)


class AsyncSender(Protocol):
    """Interface of the reporter, as its reports use it."""

    progress_interval: float
    """Seconds between two progress events of one job."""
    clock: Callable[[], float]
    """Seconds of a clock that never goes back."""
    outbox: Outbox
    """Sends the events."""

    async def next_attempt(self, events: JobEvents) -> int:
        """Return the next attempt of the job."""

    def begin(self, events: JobEvents) -> None:
        """Remember that the attempt starts."""

    def ended(self, events: JobEvents, end: Prepared) -> None:
        """Remember that the attempt has ended."""


class AsyncJobReport(JobReportBase):
    """Report of one attempt of one job.

    `progress` and steps may also be reported by other threads and by functions that cannot await.
    """

    def __init__(
        self, sender: AsyncSender, events: Callable[[], JobEvents], *, find_attempt: bool = False
    ) -> None:
        super().__init__(events, Pace(sender.progress_interval, sender.clock))
        self._sender = sender
        self._find_attempt = find_attempt
        self._lock = threading.Lock()
        self._waiting: Later | Prepared | None = None
        self._timed = False
        self._sent: list[Item] = []

    async def __aenter__(self) -> Self:
        await TURN
        self._enter()
        try:
            await self.begin()
        except BaseException:
            self._leave(*sys.exc_info())
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self._end_by(error)
        finally:
            self._leave(kind, error, traceback)

    def progress(
        self,
        step: str | float | None = None,
        percent: float | None = None,
        *,
        step_index: int | None = None,
        step_total: int | None = None,
        step_name_display: str | None = None,
        step_percent: float | None = None,
        remaining_seconds: float | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> Awaitable[None]:
        """Report the progress of the job, as `JobReport.progress` does.

        It is reported by the call. To await the result lets other coroutines run in between.

        Raises:
            InvalidEvent: a value is not valid, or `extra` is over 8 KiB, and the reporter is
                strict.
        """
        fields = {
            "step": step,
            "percent": percent,
            "step_index": step_index,
            "step_total": step_total,
            "step_name_display": step_name_display,
            "step_percent": step_percent,
            "remaining_seconds": remaining_seconds,
            "extra": extra,
        }
        with self._lock:
            self._offer(fields)
        return TURN

    def step(
        self,
        name: str,
        *,
        index: int | None = None,
        total: int | None = None,
        display: str | None = None,
    ) -> AsyncStep:
        """Return a step of the job, to be used by `async with`, as `JobReport.step` does."""
        return AsyncStep(self, self._steps.fields(name, index, total, display))

    async def done(self, result: object = None) -> None:
        """End the job as done, as `JobReport.done` does.

        Raises:
            InvalidEvent: the result is too large or cannot be written as JSON, and the reporter is
                strict; the job has not ended.
            LogUnavailable: Redis was unavailable for `end_retry_seconds`, and there is no spool.
        """
        await self._end(lambda: self._events.done(result))

    async def failed(
        self,
        error: str | BaseException,
        *,
        code: str | None = None,
        operator_detail: str | None = None,
    ) -> None:
        """End the job as failed; `error` is what users see, cut to 2,000 characters.

        Only operators see `operator_detail`. Of an exception, users see what the reporter's
        `error_text` returns, if there is one. Raises what `done` does.
        """
        await self._end(lambda: self._events.failed(error, code, operator_detail))

    async def cancelled(self, reason: str | None = None) -> None:
        """End the job as cancelled; `reason` is cut likewise. Raises what `done` does."""
        await self._end(lambda: self._events.cancelled(reason))

    def hand_over(self) -> None:
        """Send the progress that waits, and report nothing more: another report has the end."""
        with self._lock:
            if self._waiting is not None and not self._ended:
                self._send_progress(self._events.completed(self._waiting))
            self._ended = True

    async def begin(self) -> None:
        """Report the start without a block; the caller reports the end, too.

        If the attempt cannot be read from Redis, that is logged, and the next known one is used.
        """
        events = self._events
        if self._find_attempt and not events.silent:
            events.attempt = await self._sender.next_attempt(events)
        event = events.bare(Processing)
        if event is not None:
            self._sender.begin(events)
            with self._lock:
                self._send(event)

    def _offer(self, fields: Mapping[str, object]) -> None:
        """Send progress now or later; the lock is held."""
        if self._ended:
            self._ignored("progress")
        elif self._pace.seconds_to_wait() <= 0:
            self._send_progress(self._events.progress(fields))
        elif (waiting := self._events.waiting(fields)) is not None:
            self._waiting = waiting
            self._send_later()

    def _send(self, event: Prepared) -> None:
        self._sent = [item for item in self._sent if not item.taken]
        self._sent.append(self._sender.outbox.progress(self._events.tenant, event))

    def _send_progress(self, event: Prepared | None) -> None:
        if event is not None:
            self._waiting = None
            self._pace.sent()
            self._send(event)

    def _send_later(self) -> None:
        if not self._timed:
            self._timed = True
            due = self._sender.clock() + self._pace.seconds_to_wait()
            self._sender.outbox.call_at(due, self._flush)

    def _flush(self) -> None:
        """Send the value that waits, in a thread of the outbox."""
        with self._lock:
            self._timed = False
            if self._waiting is not None and not self._ended:
                self._send_progress(self._events.completed(self._waiting))

    async def _end(self, built: Callable[[], Prepared | None]) -> None:
        if not self._ended:
            try:
                await TURN
            finally:
                # Also if the coroutine is cancelled here: the end was reported.
                waiting = self._end_now(built)
            if waiting is not None:
                await waiting
        else:
            self._ignored("end")

    def _end_now(self, built: Callable[[], Prepared | None]) -> Awaitable[None] | None:
        """Send the end; return what waits for it."""
        event = built()
        with self._lock:
            if self._ended:
                self._ignored("end")
                return None
            self._ended = True
            waiting, self._waiting = self._waiting, None
        if event is None:
            return None
        self._sender.ended(self._events, event)
        last = self._events.completed(waiting) if waiting else None
        return self._sender.outbox.end(self._events.tenant, event, self._sent, last)

    async def _end_by(self, error: BaseException | None) -> None:
        """End the job by what left the context, unless it has ended."""
        if self._ended:
            return
        try:
            await self._end(lambda: self._events.end_of(error))
        except Exception:
            if error is None:
                raise
            # The caller must see the coroutine's own error, whatever happened to the report.
            _LOG.exception("the end of job %s was not appended", self.id)

"""Job reports: what one attempt of one job appends, from `processing` to its end.

`Reporter.job` returns a report, and the worker uses it as a context manager:

    with reporter.job("a1", tenant="42", job_type="excel") as job:
        job.progress("parsing", percent=10)
        job.done({"rows": 5000})

A report coalesces progress: the first value is sent at once, later ones at most at the reporter's
rate. The last value is always sent, by a timer or together with the end. What events contain is up
to `reporting/job_events.py`, and how they are sent, retried and spooled is up to the reporter. Used
by `ops`, `streams` and `workers`.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Protocol, Self

from .events import Processing
from .payloads import Prepared
from .reporting.job_base import JobReportBase
from .reporting.job_events import JobEvents, Later
from .reporting.pace import Pace
from .reporting.steps import Step

_LOG = logging.getLogger(__name__)


class Sender(Protocol):
    """Interface of the reporter, as its reports use it."""

    progress_interval: float
    """Seconds between two progress events of one job."""
    clock: Callable[[], float]
    """Seconds of a clock that never goes back."""

    def find_attempt(self, events: JobEvents) -> int:
        """Return the next attempt of the job."""

    def begin(self, events: JobEvents) -> None:
        """Remember that the attempt starts."""

    def send_or_drop(self, tenant: str, event: Prepared) -> bool:
        """Append an event that may be lost; return False if it was dropped."""

    def send_end(self, events: JobEvents, end: Prepared, before: Prepared | None) -> None:
        """Append an end, and an event before it in the same round trip."""


class JobReport(JobReportBase):
    """Report of one attempt of one job; safe to share between threads."""

    def __init__(self, sender: Sender, events: JobEvents, *, find_attempt: bool = False) -> None:
        super().__init__(lambda: events, Pace(sender.progress_interval, sender.clock))
        self._sender = sender
        self._find_attempt = find_attempt
        self._lock = threading.RLock()
        self._waiting: Later | Prepared | None = None
        self._timer: threading.Timer | None = None

    def __enter__(self) -> Self:
        self._enter()
        try:
            self.begin()
        except BaseException:
            self._leave(*sys.exc_info())
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._end_by(error)
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
    ) -> None:
        """Report the progress of the job; it may be called thousands of times a second.

        Percents are 0 to 100; `step_index` counts from 1. A number in place of the step is the
        percent: `job.progress(50)`. If the reporter is strict, it raises InvalidEvent.
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
            if self._ended:
                self._ignored("progress")
            elif self._pace.seconds_to_wait() <= 0:
                self._send_progress(self._events.progress(fields))
            elif (waiting := self._events.waiting(fields)) is not None:
                self._waiting = waiting
                if self._timer is None:
                    self._start_timer()

    def step(
        self,
        name: str,
        *,
        index: int | None = None,
        total: int | None = None,
        display: str | None = None,
    ) -> Step:
        """Return a step of the job, to be used as a context manager.

        It is the step `index` of `total`, by default the one after the last. `display` is its name
        for people. If the total is known, the job's percent is reported too.
        """
        return Step(self, self._steps.fields(name, index, total, display))

    def done(self, result: object = None) -> None:
        """End the job as done.

        A result that is not an object, such as a list, becomes the field `value` of one. Dates,
        UUIDs, decimals, dataclasses, models and the like are written as JSON.

        Raises:
            InvalidEvent: the result is too large or cannot be written as JSON, and the reporter is
                strict; the job has not ended.
            LogUnavailable: Redis was unavailable for `end_retry_seconds`, and there is no spool.
        """
        self._end(self._events.done(result))

    def failed(
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
        self._end(self._events.failed(error, code, operator_detail))

    def cancelled(self, reason: str | None = None) -> None:
        """End the job as cancelled; `reason` is cut likewise. Raises what `done` does."""
        self._end(self._events.cancelled(reason))

    def hand_over(self) -> None:
        """Send the progress that waits, and report nothing more: another report has the end."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            if self._waiting is not None and not self._ended:
                self._send_progress(self._events.completed(self._waiting))
            self._ended = True

    def begin(self) -> None:
        """Report the start without a block; the caller reports the end, too."""
        events = self._events
        if self._find_attempt and not events.silent:
            events.attempt = self._sender.find_attempt(events)
        event = events.bare(Processing)
        if event is not None:
            self._sender.begin(events)
            self._send(event)

    def _send(self, event: Prepared) -> None:
        self._sender.send_or_drop(self._events.tenant, event)

    def _send_progress(self, event: Prepared | None) -> None:
        if event is not None:
            self._waiting = None
            self._pace.sent()
            self._send(event)

    def _start_timer(self) -> None:
        timer = threading.Timer(self._pace.seconds_to_wait(), self._flush)
        timer.daemon = True
        # Without a thread for it, the progress is sent with the next one, or with the end.
        with suppress(RuntimeError):
            timer.start()
            self._timer = timer

    def _flush(self) -> None:
        with self._lock:
            self._timer = None
            if self._waiting is None or self._ended:
                return
            if self._pace.seconds_to_wait() > 0:
                # The timer was late, and a newer value has been sent since.
                self._start_timer()
            else:
                self._send_progress(self._events.completed(self._waiting))

    def _end(self, event: Prepared | None) -> None:
        with self._lock:
            if self._ended:
                self._ignored("end" if event is None else event.type)
                return
            self._ended = True
            if self._timer is not None:
                self._timer.cancel()
            waiting, self._waiting = self._waiting, None
            if event is not None:
                last = self._events.completed(waiting) if waiting else None
                self._sender.send_end(self._events, event, last)

    def _end_by(self, error: BaseException | None) -> None:
        """End the job by what left the context, unless it has ended."""
        with self._lock:
            if self._ended:
                return
            try:
                self._end(self._events.end_of(error))
            except Exception:
                if error is None:
                    raise
                # The caller must see the worker's own error, whatever happened to the report.
                _LOG.exception("the end of job %s was not appended", self.id)

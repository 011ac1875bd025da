"""Job reports: what one attempt of one job appends, from `processing` to its end.

`Reporter.job` returns a report, and the worker uses it as a context manager:

    with reporter.job("a1", tenant="42", job_type="excel") as job:
        job.progress("parsing", percent=10)
        job.done({"rows": 5000})

A report builds events and coalesces progress: the first value is sent at once, later ones at most
at the reporter's rate. The last value is always sent, by a timer or together with the end. How
events are sent, retried and spooled is up to the reporter.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Protocol, Self

from .event_ids import new_event_id
from .events import (
    Cancelled,
    Done,
    Event,
    Failed,
    InvalidEvent,
    Processing,
    Progress,
    encode_fields,
    parse_event,
)
from .failure import failure_of, valid_text
from .tracing import job_span

_LOG = logging.getLogger(__name__)

_INTERRUPTIONS = (KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError)


class Sender(Protocol):
    """Interface of the reporter, as its reports use it."""

    worker: str
    """Name of the process that reports."""
    progress_interval: float
    """Seconds between two progress events of one job."""

    def clock(self) -> float:
        """Return the seconds of a clock that never goes back."""

    def append_or_drop(self, tenant: str, event: Event) -> bool:
        """Append an event that may be lost; return False if it was dropped."""

    def append_with_retries(self, tenant: str, end: Event, before: Event | None = None) -> None:
        """Append an end, and an event before it in the same round trip."""


class JobReport:
    """Report of one attempt of one job; safe to share between threads."""

    def __init__(self, sender: Sender, tenant: str, common: Mapping[str, Any]) -> None:
        self._sender = sender
        self._tenant = tenant
        self._common = {name: value for name, value in common.items() if value is not None}
        self._lock = threading.RLock()
        self._next_progress = float("-inf")
        self._waiting: Event | None = None
        self._timer: threading.Timer | None = None
        self._ended = False
        self._started = self.event(Processing)
        self._span = job_span(
            f"job {common['job_type'] or common['kind']}",
            self._common.get("traceparent"),
            {"jobtrail.tenant": tenant, "jobtrail.kind": common["kind"]},
        )

    def __enter__(self) -> Self:
        traceparent = self._span.__enter__()
        if traceparent != self._common.get("traceparent"):
            self._common["traceparent"] = traceparent
            self._started = self.event(Processing)
        self._sender.append_or_drop(self._tenant, self._started)
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
            self._end_span(kind, error, traceback)

    def progress(
        self,
        step: str | None = None,
        *,
        percent: float | None = None,
        step_index: int | None = None,
        step_total: int | None = None,
        step_name_display: str | None = None,
        step_percent: float | None = None,
        remaining_seconds: float | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """Report the progress of the job; it may be called thousands of times a second.

        Percents are 0 to 100; `step_index` counts from 1.

        Raises:
            InvalidEvent: a value is not valid, or `extra` is over 8 KiB.
        """
        event = self.event(
            Progress,
            step=step,
            percent=percent,
            step_index=step_index,
            step_total=step_total,
            step_name_display=step_name_display,
            step_percent=step_percent,
            remaining_seconds=remaining_seconds,
            extra=dict(extra) if extra else None,
        )
        with self._lock:
            if self._ended:
                _LOG.warning("progress of job %s after its end was ignored", event.id)
                return
            if self._seconds_to_wait() <= 0:
                self._send_progress(event)
                return
            self._waiting = event
            if self._timer is None:
                self._start_timer()

    def done(self, result: Mapping[str, Any] | None = None) -> None:
        """End the job as done.

        Raises:
            InvalidEvent: the event is too large or cannot be written as JSON; the job has not
                ended.
            LogUnavailable: Redis was unavailable for `end_retry_seconds`, and there is no spool.
        """
        self._end(self.event(Done, result=dict(result or {})))

    def failed(self, error: str, *, code: str | None = None) -> None:
        """End the job as failed; `error` is cut to 2,000 characters. Raises what `done` does."""
        self._end(self.event(Failed, error=valid_text(error), code=code))

    def cancelled(self, reason: str | None = None) -> None:
        """End the job as cancelled; `reason` is cut likewise. Raises what `done` does."""
        self._end(self.event(Cancelled, reason=None if reason is None else valid_text(reason)))

    def event(self, form: type[Event], **fields: Any) -> Event:
        """Return an event of this job, with an id and the time.

        Raises:
            InvalidEvent: a field is not valid.
        """
        stamped = {
            **self._common,
            **{name: value for name, value in fields.items() if value is not None},
            "worker": self._sender.worker,
            "event_id": new_event_id(),
            "at": datetime.now(UTC),
        }
        return parse_event(encode_fields({"type": form.model_fields["type"].default, **stamped}))

    def _send_progress(self, event: Event) -> None:
        self._waiting = None
        self._next_progress = self._sender.clock() + self._sender.progress_interval
        self._sender.append_or_drop(self._tenant, event)

    def _seconds_to_wait(self) -> float:
        return self._next_progress - self._sender.clock()

    def _start_timer(self) -> None:
        self._timer = threading.Timer(self._seconds_to_wait(), self._flush)
        self._timer.daemon = True
        self._timer.start()

    def _flush(self) -> None:
        with self._lock:
            self._timer = None
            if self._waiting is None or self._ended:
                return
            if self._seconds_to_wait() > 0:
                # The timer was late, and a newer value has been sent since.
                self._start_timer()
            else:
                self._send_progress(self._waiting)

    def _end(self, event: Event) -> None:
        with self._lock:
            if self._ended:
                _LOG.warning("%s of job %s after its end was ignored", event.type, event.id)
                return
            self._ended = True
            if self._timer is not None:
                self._timer.cancel()
            waiting, self._waiting = self._waiting, None
            try:
                self._sender.append_with_retries(self._tenant, event, waiting)
            except InvalidEvent:  # too large: nothing was sent, and another end may follow
                self._ended = False
                raise

    def _end_by(self, error: BaseException | None) -> None:
        """End the job by what left the context, unless it has ended."""
        with self._lock:
            if self._ended:
                return
            try:
                if error is None:
                    self.done({})
                elif isinstance(error, _INTERRUPTIONS):
                    self.cancelled(f"interrupted: {type(error).__name__}")
                else:
                    failure = failure_of(error)
                    self.failed(failure.error, code=failure.code)
            except Exception:
                if error is None:
                    raise
                # The caller must see the worker's own error, whatever happened to the report.
                _LOG.exception("the end of job %s was not appended", self._common["id"])

    def _end_span(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._span.__exit__(kind, error, traceback)
        except Exception:
            # Recording an exception calls its `__str__`, which may raise.
            _LOG.debug("the span of job %s was not completed", self._common["id"], exc_info=True)

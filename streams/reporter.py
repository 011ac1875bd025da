"""The SDK of a worker: report what a job does, and let the work go on whatever Redis does.

    with reporter.job("a1", tenant="42", job_type="excel") as job:
        job.progress("parsing", percent=10)
        job.done({"rows": 5000})

*Progress* is coalesced: the first at once, then at most `progress_per_second`, the last value never
dropped, save where the log is full and sheds it (`max_stream_bytes`). *Ends* (`done`, `failed`,
`cancelled`) are never delayed, and are appended durably; when Redis is away they are retried within
a bound, and then raised or spooled. While Redis is away progress is dropped with a warning.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .appender import EventAppender, payload_of
from .connection import LogUnavailable, connect
from .durability import NotDurable
from .event_ids import new_event_id
from .events import (
    MAX_EVENT_BYTES,
    Cancelled,
    Done,
    Event,
    Failed,
    InvalidEvent,
    Processing,
    Progress,
    Queued,
    encode_fields,
    parse_event,
)
from .failure import failure_of, valid_text
from .keys import check_tenant
from .spool import Spool
from .tracing import current_traceparent, job_span

_LOG = logging.getLogger(__name__)

_INTERRUPTIONS = (KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError)


class Reporter:
    """Hands out job reports that share one connection; safe to share between threads.

    Args:
        appender: where events go.
        worker: who reports; the host's name and the process by default.
        progress_per_second: the most progress events a job appends in a second.
        end_retry_seconds: how long an end is retried while Redis is away.
        silence_seconds: how long progress is not even tried after Redis was found away.
        spool: a directory for ends that could not be appended; without one they raise
            LogUnavailable. What an earlier process left there is sent at once.
        durable_ends: whether an end waits until the server's disk and replicas have it. That takes
            up to a second where the disk is synced once a second.
    """

    def __init__(
        self,
        appender: EventAppender,
        *,
        worker: str | None = None,
        progress_per_second: float = 4.0,
        end_retry_seconds: float = 30.0,
        silence_seconds: float = 2.0,
        spool: Path | None = None,
        durable_ends: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.worker = worker or f"{socket.gethostname()}:{os.getpid()}"[:200]
        self.clock = clock
        self.progress_interval = 1.0 / progress_per_second
        self._appender = appender
        self._end_retry_seconds = end_retry_seconds
        self._silence_seconds = silence_seconds
        self._silent_until = float("-inf")
        self._durable_ends = durable_ends
        self._spool = Spool(spool) if spool else None
        if self._spool:
            self._spool.send(appender)

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        max_event_bytes: int = MAX_EVENT_BYTES,
        max_stream_bytes: int | None = None,
        durable_replicas: int | None = None,
        **options: Any,
    ) -> Self:
        """Make a reporter of its own connection, with timeouts that suit a worker (1 s).

        `max_stream_bytes` is how many a tenant's log may take before its progress is shed;
        `durable_replicas` is how many replicas must have an end, as for `EventAppender`.

        Raises:
            InvalidUrl: the URL is not valid.
            SettingsError: `JOBTRAIL_DURABLE_REPLICAS` is not valid.
        """
        appender = EventAppender(
            # A replica refuses what a reporter sends, so that it need not be asked in between.
            connect(url, timeout=1.0, connect_timeout=1.0, role_seconds=math.inf),
            max_event_bytes=max_event_bytes,
            max_stream_bytes=max_stream_bytes,
            durable_replicas=durable_replicas,
        )
        return cls(appender, **options)

    def job(
        self,
        id: str,  # noqa: A002 - the contract's word
        *,
        tenant: str,
        kind: str = "job",
        job_type: str | None = None,
        attempt: int = 1,
        labels: Mapping[str, str] | None = None,
        traceparent: str | None = None,
    ) -> JobReport:
        """Report one attempt of a job; use the answer as a context manager.

        Its events carry `traceparent`, or else that of the span that the context manager opens.

        Raises:
            InvalidEvent, InvalidTenant: id, kind, labels or another word is not of its form.
        """
        common = {
            "id": id,
            "kind": kind,
            "job_type": job_type,
            "attempt": attempt,
            "labels": dict(labels) if labels else None,
            "traceparent": traceparent or current_traceparent(),
        }
        return JobReport(self, check_tenant(tenant), common)

    def queued(
        self,
        id: str,  # noqa: A002 - the contract's word
        *,
        tenant: str,
        **words: Any,
    ) -> None:
        """Say that a job waits for a worker; takes the words that `job` takes.

        Raises:
            InvalidEvent, InvalidTenant: as `job`.
            LogUnavailable: Redis stayed away for `end_retry_seconds`, and there is no spool.
        """
        report = self.job(id, tenant=tenant, **words)
        self.append_surely(tenant, report.event(Queued))

    def try_append(self, tenant: str, event: Event) -> bool:
        """Append what may be lost; drop it with a warning, and for a while quietly, if need be."""
        if self.clock() < self._silent_until:
            return False
        try:
            self._appender.append(tenant, event)
        except LogUnavailable as error:
            self._silent_until = self.clock() + self._silence_seconds
            _LOG.warning("%s of job %s dropped: %s", event.type, event.id, error)
            return False
        return True

    def append_surely(self, tenant: str, end: Event, before: Event | None = None) -> None:
        """Append an end, and the last progress in the same round trip before it.

        An end that is in the log and not durable even after `end_retry_seconds` is spooled, or else
        left there with a warning: its job has ended for all readers.

        Raises:
            LogUnavailable: Redis stayed away for `end_retry_seconds`, and there is no spool.
        """
        durable = self._durable_ends and not isinstance(end, Queued)
        events: list[tuple[str, Event]] = [(tenant, event) for event in (before, end) if event]
        deadline, pause = self.clock() + self._end_retry_seconds, 0.05
        while True:
            try:
                self._appender.append_many(events, durable=durable)
            except LogUnavailable as error:
                if self.clock() + pause < deadline:
                    time.sleep(pause)
                    pause = min(pause * 2, 2.0)
                    continue
                self._give_up(tenant, end, error)
            return

    def _give_up(self, tenant: str, end: Event, error: LogUnavailable) -> None:
        if self._spool is None:
            if not isinstance(error, NotDurable):
                raise error
            _LOG.warning("%s of job %s may be lost in a failover: %s", end.type, end.id, error)
            return
        path = self._spool.keep(tenant, payload_of(end))
        _LOG.warning("%s of job %s spooled to %s: %s", end.type, end.id, path, error)


class JobReport:
    """One attempt of one job, from `processing` to its end; safe to share between threads."""

    def __init__(self, reporter: Reporter, tenant: str, common: Mapping[str, Any]) -> None:
        self._reporter = reporter
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
        here = self._span.__enter__()
        if here != self._common.get("traceparent"):
            self._common["traceparent"] = here
            self._started = self.event(Processing)
        self._reporter.try_append(self._tenant, self._started)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._leave(error)
        finally:
            self._end_span(kind, error, traceback)

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

    def _leave(self, error: BaseException | None) -> None:
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
                # The worker's own error is what its caller must see, whatever happened to ours.
                _LOG.exception("the end of job %s was not appended", self._common["id"])

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
        """Report how far the job is; cheap to call thousands of times a second.

        Raises:
            InvalidEvent: a value is not of its form, or `extra` is over 8 KiB.
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
        """End the job well."""
        self._end(self.event(Done, result=dict(result or {})))

    def failed(self, error: str, *, code: str | None = None) -> None:
        """End the job badly; `error` is cut to 2,000 characters."""
        self._end(self.event(Failed, error=valid_text(error), code=code))

    def cancelled(self, reason: str | None = None) -> None:
        """End the job because somebody called it off."""
        self._end(self.event(Cancelled, reason=None if reason is None else valid_text(reason)))

    def event(self, form: type[Event], **fields: Any) -> Event:
        """Build an event of this job, stamped with its id and the time."""
        stamped = {
            **self._common,
            **{name: value for name, value in fields.items() if value is not None},
            "worker": self._reporter.worker,
            "event_id": new_event_id(),
            "at": datetime.now(UTC),
        }
        return parse_event(encode_fields({"type": form.model_fields["type"].default, **stamped}))

    def _send_progress(self, event: Event) -> None:
        self._waiting = None
        self._next_progress = self._reporter.clock() + self._reporter.progress_interval
        self._reporter.try_append(self._tenant, event)

    def _seconds_to_wait(self) -> float:
        return self._next_progress - self._reporter.clock()

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
                # The timer was late, and a newer value was sent at once meanwhile.
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
                self._reporter.append_surely(self._tenant, event, waiting)
            except InvalidEvent:  # too large: nothing was sent, another end may still be said
                self._ended = False
                raise

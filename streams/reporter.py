"""Reporter: how a worker reports its jobs while Redis is available, and while it is not.

    reporter = Reporter.from_url("redis://127.0.0.1:6379/0")
    with reporter.job("a1", tenant="42", job_type="excel") as job:
        ...

A worker makes one reporter for its process. *Progress* is best effort: while Redis is unavailable
it is dropped with a warning. *Ends* (`done`, `failed`, `cancelled`) are appended durably and at
once; while Redis is unavailable they are retried for a limited time, and then raised or spooled.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from .appender import EventAppender
from .connection import LogUnavailable, connect
from .durability import NotDurable
from .events import MAX_EVENT_BYTES, Event, Queued
from .job_report import JobReport
from .keys import check_tenant
from .payloads import payload_of
from .spool import Spool
from .tracing import current_traceparent

_LOG = logging.getLogger(__name__)


class Reporter:
    """Makes job reports that share one connection; safe to share between threads.

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
        clock: seconds of a clock that never goes back.

    Raises:
        UnsafeSpool, OSError: the spool's directory cannot be used.
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
        """Return a reporter with a connection of its own, whose timeouts suit a worker (1 s).

        `max_stream_bytes` is the size of a tenant's stream above which progress is shed, and
        `durable_replicas` the number of replicas that must have an end, as for `EventAppender`.
        `options` are the arguments of the class.

        Raises:
            InvalidUrl: the URL is not valid.
            SettingsError: `JOBTRAIL_DURABLE_REPLICAS` is not valid.
        """
        appender = EventAppender(
            # A replica refuses what a reporter sends: it does not have to be checked again.
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
        """Return the report of one attempt of a job, to be used as a context manager.

        Its events carry `traceparent`, or else that of the span that the context manager opens.

        Raises:
            InvalidEvent, InvalidTenant: an argument is not valid.
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
        **options: Any,
    ) -> None:
        """Report that a job waits for a worker; `options` are the arguments of `job`.

        Raises:
            InvalidEvent, InvalidTenant: an argument is not valid.
            LogUnavailable: Redis was unavailable for `end_retry_seconds`, and there is no spool.
        """
        report = self.job(id, tenant=tenant, **options)
        self.append_with_retries(tenant, report.event(Queued))

    def append_or_drop(self, tenant: str, event: Event) -> bool:
        """Append an event that may be lost; return False if it was dropped.

        The first event that is dropped is a warning; for `silence_seconds` after it others are
        dropped without a try and without a warning.
        """
        if self.clock() < self._silent_until:
            return False
        try:
            self._appender.append(tenant, event)
        except LogUnavailable as error:
            self._silent_until = self.clock() + self._silence_seconds
            _LOG.warning("%s of job %s dropped: %s", event.type, event.id, error)
            return False
        return True

    def append_with_retries(self, tenant: str, end: Event, before: Event | None = None) -> None:
        """Append an end, and the last progress before it in the same round trip.

        An end that was appended, but is not durable after `end_retry_seconds`, is spooled; without
        a spool it is a warning, because its job has ended for all readers.

        Raises:
            LogUnavailable: Redis was unavailable for `end_retry_seconds`, and there is no spool.
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

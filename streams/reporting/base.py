"""Base of both reporters: their options, how they are made, and what they make reports of.

Used by `streams.async_reporter`, `streams.recording`, `streams.reporter` and `streams.tasks`.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import time
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, Self
from uuid import UUID

import redis

from ..appender import EventAppender
from ..connection import InvalidUrl, connect
from ..events import MAX_EVENT_BYTES, WORD_LENGTH
from ..failure import ErrorText
from ..runtime.environment import workers_redis_url
from ..settings import PREFIX, Settings, SettingsError
from ..tracing import current_traceparent
from .attempts import Attempts, next_attempt, read_attempts
from .delivery import Delivery, DeliveryOptions
from .job_events import JobEvents
from .mistakes import Mistakes

_LOG = logging.getLogger(__name__)

Id = str | int | float | UUID
"""Id of a tenant or a job; numbers and UUIDs stand for their text."""
Attempt = int | Literal["next"]
"""Number of the run of a job; `next` is the one after the last that is known."""
Labels = Mapping[str, str | float | bool | UUID | None]
"""Short texts to filter lists by; a label without a value is left out."""

_REPORTERS: weakref.WeakSet[ReporterBase] = weakref.WeakSet()


class ReporterBase:
    """Base of `Reporter`, which describes the arguments, and of `AsyncReporter`."""

    def __init__(
        self,
        appender: EventAppender,
        *,
        worker: str | None = None,
        progress_per_second: float = 4.0,
        end_retry_seconds: float = 30.0,
        silence_seconds: float = 2.0,
        spool: Path | str | None = None,
        durable_ends: bool = True,
        strict: bool = False,
        error_text: ErrorText | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not progress_per_second > 0:
            raise ValueError(f"progress_per_second must be above 0, not {progress_per_second}")
        self.clock = clock
        self.progress_interval = 1.0 / progress_per_second
        self.mistakes = Mistakes(strict=strict)
        self.error_text = error_text
        self.attempts = Attempts()
        self._worker = None if worker is None else str(worker)[:WORD_LENGTH]
        self._process = (0, "")
        self._owned: redis.Redis | None = None
        folder = None if spool is None else Path(spool)
        options = DeliveryOptions(end_retry_seconds, silence_seconds, folder, durable_ends, clock)
        self.delivery = Delivery(appender, options)
        self._start()
        _REPORTERS.add(self)

    def _start(self) -> None:
        """Begin to send what an earlier process left in the spool."""

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        max_event_bytes: int = MAX_EVENT_BYTES,
        max_stream_bytes: int | None = None,
        durable_replicas: int | None = None,
        worker: str | None = None,
        progress_per_second: float = 4.0,
        end_retry_seconds: float = 30.0,
        silence_seconds: float = 2.0,
        spool: Path | str | None = None,
        durable_ends: bool = True,
        strict: bool = False,
        error_text: ErrorText | None = None,
    ) -> Self:
        """Return a reporter with a connection of its own, whose timeouts suit a worker (1 s).

        The first three options are those of `EventAppender`, the others those of the class.

        Raises:
            InvalidUrl, SettingsError: the URL or `JOBTRAIL_DURABLE_REPLICAS` is not valid.
            ValueError, OSError: an option is not valid, or the spool cannot be used.
        """
        appender = _appender(url, max_event_bytes, max_stream_bytes, durable_replicas)
        reporter = cls(
            appender,
            worker=worker,
            progress_per_second=progress_per_second,
            end_retry_seconds=end_retry_seconds,
            silence_seconds=silence_seconds,
            spool=spool,
            durable_ends=durable_ends,
            strict=strict,
            error_text=error_text,
        )
        reporter._owned = appender.client
        return reporter

    @classmethod
    def from_env(
        cls,
        *,
        worker: str | None = None,
        progress_per_second: float = 4.0,
        end_retry_seconds: float = 30.0,
        silence_seconds: float = 2.0,
        spool: Path | str | None = None,
        durable_ends: bool = True,
        strict: bool = False,
        error_text: ErrorText | None = None,
    ) -> Self:
        """Return a reporter on the Redis in `JOBTRAIL_REDIS_URL`.

        `JOBTRAIL_DURABLE_REPLICAS`, `JOBTRAIL_MAX_EVENT_BYTES` and `JOBTRAIL_STREAM_MAX_BYTES` are
        read too. The options are those of the class.

        Raises:
            SettingsError: a variable is not valid, or `JOBTRAIL_REDIS_URL` is not set.
            ValueError, OSError: an option is not valid, or the spool cannot be used.
        """
        settings = Settings.of_worker()
        url = workers_redis_url(settings.redis_url)
        try:
            return cls.from_url(
                url,
                max_event_bytes=settings.max_event_bytes,
                max_stream_bytes=settings.stream_max_bytes,
                durable_replicas=settings.durable_replicas,
                worker=worker,
                progress_per_second=progress_per_second,
                end_retry_seconds=end_retry_seconds,
                silence_seconds=silence_seconds,
                spool=spool,
                durable_ends=durable_ends,
                strict=strict,
                error_text=error_text,
            )
        except InvalidUrl as error:
            raise SettingsError(f"{PREFIX}REDIS_URL: {error}") from None

    @property
    def worker(self) -> str:
        """The name of the process that reports, also after a fork."""
        if self._worker is not None:
            return self._worker
        process, name = self._process
        if process != os.getpid():
            process = os.getpid()
            name = f"{socket.gethostname()}:{process}"[-200:]
            self._process = process, name
        return name

    def events_of(
        self,
        id: Id,  # noqa: A002 - the contract's word
        *,
        tenant: Id,
        kind: str = "job",
        job_type: str | None = None,
        attempt: Attempt = 1,
        labels: Labels | None = None,
        traceparent: str | None = None,
        mistakes: Mistakes | None = None,
    ) -> JobEvents:
        """Return the events of one attempt of a job; `mistakes` replaces the reporter's own.

        For the attempt `next`, the job's report sets the number when it begins.

        Raises:
            InvalidTenant: the tenant is not valid, and mistakes are strict.
        """
        common = {
            "id": id,
            "kind": kind,
            "job_type": job_type,
            "attempt": None if attempt == "next" else attempt,
            "labels": labels,
            "traceparent": traceparent or current_traceparent(),
        }
        mistakes = mistakes or self.mistakes
        limit = self.delivery.max_event_bytes
        return JobEvents(
            lambda: self.worker, mistakes, tenant, common, limit, error_text=self.error_text
        )

    def find_attempt(self, events: JobEvents) -> int:
        """Return the next attempt of a job; reads Redis, and warns where that is not possible."""
        job = events.key
        known = self.attempts.known(job)
        found = [known] if known else []
        appender = self.delivery.appender
        try:
            found += read_attempts(appender.client, appender.keys, job)
        except redis.RedisError as error:
            _LOG.warning("the attempts of job %s cannot be read from Redis: %s", job.id, error)
        return next_attempt(found)

    def begin(self, events: JobEvents) -> None:
        """Remember an attempt that starts, and warn if its events can change nothing."""
        job, attempt = events.key, events.attempt
        problem = self.attempts.ended(job, attempt)
        if problem is not None:
            self.mistakes.warn(job.id, f"events of attempt {attempt} change nothing", problem)
        else:
            self.attempts.record(job, attempt, "processing")

    @classmethod
    def sharing(cls, other: ReporterBase) -> Self:
        """Return a reporter that shares the options, the delivery and the memory of another."""
        shared = cls.__new__(cls)
        vars(shared).update(vars(other))
        return shared


def _appender(
    url: str, max_event_bytes: int, max_stream_bytes: int | None, durable_replicas: int | None
) -> EventAppender:
    # A replica refuses what a reporter sends: it does not have to be checked again.
    return EventAppender(
        connect(url, timeout=1.0, connect_timeout=1.0, role_seconds=math.inf),
        max_event_bytes=max_event_bytes,
        max_stream_bytes=max_stream_bytes,
        durable_replicas=durable_replicas,
    )


def _after_fork() -> None:
    for reporter in _REPORTERS:
        reporter.attempts.reset()


os.register_at_fork(after_in_child=_after_fork)

"""Bridge: the connection behind the old calls, and the attempt that a call means.

A process has one bridge. It connects at the first call, to `JOBTRAIL_REDIS_URL` unless the
application has set another bridge with `use`.

Old workers have no attempts. A call without one means the attempt that the process passed last for
the job, or else the attempt in the job's status document. Used by `streams.compat` and
`streams.integrations`.
"""

from __future__ import annotations

import json
import logging
import os
import weakref
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any

import redis

from ..appender import EventAppender
from ..cluster import keys_of
from ..connection import InvalidUrl, LogUnavailable, connect
from ..entry_ids import EntryId
from ..events import Event, load_json
from ..failure import ErrorText, FailureFields, failure_of, text_of
from ..job_report import JobReport
from ..keys import JobKey, check_tenant
from ..kinds import KINDS, State
from ..reporter import Reporter
from ..reporting.mistakes import Mistakes
from ..runtime.safe_text import visible
from ..settings import Settings, SettingsError
from ..settled_entries import complete_entry_id, wait_until_settled

if TYPE_CHECKING:
    from ..async_job_report import AsyncJobReport
    from ..async_reporter import AsyncReporter

_LOG = logging.getLogger(__name__)

Id = str | int
"""Id of a tenant, a job or a video; applications often have numbers."""

REMEMBERED_ATTEMPTS = 10_000

_RAISED = Mistakes(strict=True)
_BRIDGES: weakref.WeakSet[Bridge] = weakref.WeakSet()


class Bridge:
    """Appends the events of the old calls, and reads documents; safe to share between threads.

    Args:
        client: a blocking client whose replies are bytes.
        reporter: appends the events; by default a reporter with the same client.
        legacy_keys: True if the progress of a processing job without a progress document is read
            from the key that workers wrote before keys contained the tenant.
    """

    def __init__(
        self,
        client: redis.Redis,
        *,
        reporter: Reporter | None = None,
        legacy_keys: bool = False,
    ) -> None:
        self._client = client
        self._keys = keys_of(client)
        self._legacy_keys = legacy_keys
        self._reporter = reporter or Reporter(EventAppender(client))
        self._attempts: OrderedDict[JobKey, int] = OrderedDict()
        self._lock = Lock()
        self._async_reporter: AsyncReporter | None = None
        _BRIDGES.add(self)

    def reset_lock(self) -> None:
        """Make a new lock in a forked process, whose copy may be held forever."""
        self._lock = Lock()

    def served(self, job: JobKey) -> dict[str, Any] | None:
        """Return the job's status document, or None.

        Raises:
            redis.RedisError: Redis is unavailable.
        """
        return self._read(self._keys.status(job))

    def reflects(self, tenant: str, entry_id: EntryId | str, seconds: float) -> bool:
        """Wait up to so many seconds until documents reflect an entry; return True if they do.

        Raises:
            ValueError: the text is not an entry id.
            InvalidTenant: no tenant can have that name.
            redis.RedisError: Redis is unavailable.
        """
        if not isinstance(entry_id, EntryId):
            entry_id = complete_entry_id(entry_id)
        stream = self._keys.stream(check_tenant(tenant))
        return wait_until_settled(self._client, stream, entry_id, seconds)

    def progress(self, job: JobKey) -> dict[str, Any] | None:
        """Return the job's progress document; None without one, or if it cannot be read."""
        try:
            found = self._read(self._keys.progress(job))
            if found is None and self._legacy_keys and self.state(job) is State.PROCESSING:
                found = self._read(self._keys.legacy_progress(job))
        except (redis.RedisError, ValueError) as error:
            _LOG.warning("progress of job %s cannot be read: %s", visible(job.id), error)
            return None
        return found

    def tenantless_progress(self, kind: str, job_id: str) -> dict[str, Any] | None:
        """Return the document of the old key, for calls without a tenant."""
        try:
            return self._read(self._keys.legacy_progress(JobKey("", kind, job_id)))
        except (redis.RedisError, ValueError) as error:
            _LOG.warning("progress of job %s cannot be read: %s", visible(job_id), error)
            return None

    def write_tenantless(self, job_id: str, document: Mapping[str, Any], ttl: int) -> None:
        """Write the old key, which does not contain the tenant."""
        shown = visible(job_id)
        _LOG.warning("progress of job %s names no tenant: it goes to the old key alone", shown)
        key = self._keys.legacy_progress(JobKey("", "job", job_id))
        try:
            self._client.set(key, json.dumps(document, default=text_of), ex=ttl)
        except (redis.RedisError, TypeError, ValueError, RecursionError) as error:
            _LOG.warning("progress of job %s dropped: %s", shown, error)

    def renew(self, job: JobKey, seconds: int) -> None:
        """Set the time to live of a job's documents; documents of an ended job have none.

        Raises:
            redis.RedisError: Redis is unavailable.
        """
        for name in (self._keys.status(job), self._keys.progress(job)):
            self._client.expire(name, seconds, gt=True)

    def state(self, job: JobKey) -> State | None:
        """Return the state in the job's status document; None without one, or with another word."""
        return state_in(self.served(job), job.kind)

    def event(
        self, job: JobKey, form: type[Event], *, attempt: int | None = None, **fields: Any
    ) -> Event:
        """Return an event of the job.

        Raises:
            InvalidEvent, InvalidTenant: a value is not valid.
            LogUnavailable: the attempt must be read, and Redis is unavailable.
        """
        job_type = fields.pop("job_type", None)
        events = self._reporter.events_of(
            job.id,
            tenant=job.tenant,
            kind=job.kind,
            job_type=job_type,
            attempt=self._attempt(job, attempt),
            mistakes=_RAISED,
        )
        return events.event(form, **fields)

    def report(self, job: JobKey, attempt: int, job_type: str) -> JobReport:
        """Return the report of an attempt whose start and end are reported by events."""
        return self._reporter.job(
            job.id, tenant=job.tenant, kind=job.kind, attempt=attempt, job_type=job_type[-200:]
        )

    def async_report(self, job: JobKey, attempt: int, job_type: str) -> AsyncJobReport:
        """Return such a report for a coroutine, which must not block its loop."""
        from ..async_reporter import AsyncReporter  # noqa: PLC0415 - few need it

        if self._async_reporter is None:
            self._async_reporter = AsyncReporter.sharing(self._reporter)
        return self._async_reporter.job(
            job.id, tenant=job.tenant, kind=job.kind, attempt=attempt, job_type=job_type[-200:]
        )

    def hand_over(self, report: JobReport | AsyncJobReport) -> None:
        """Wait until the last progress of a report was sent, after which it reports nothing."""
        report.hand_over()
        if self._async_reporter is not None and not isinstance(report, JobReport):
            self._async_reporter.outbox.finish()

    def failure_of(self, error: BaseException) -> FailureFields:
        """Return the fields of a `failed` event, with the text that the reporter's users see."""
        return failure_of(error, self._reporter.error_text)

    def append_or_drop(self, job: JobKey, event: Event) -> bool:
        """Append an event that may be lost; return False, with a warning, if it was dropped."""
        return self._reporter.append_or_drop(job.tenant, event)

    def publish(self, job: JobKey, event: Event, seconds: float) -> None:
        """Append an event, and retry it for so many seconds while Redis is unreachable.

        Raises:
            LogUnavailable: Redis stayed unavailable, or refused the event.
        """
        delivery = self._reporter.delivery
        prepared = delivery.prepared(event)
        delivery.send_end(job.tenant, prepared, retry_seconds=seconds, publishes=True)

    def end(self, job: JobKey, event: Event) -> None:
        """Append an end, durably if the server can, and retry it for the reporter's time.

        Raises:
            LogUnavailable: Redis stayed unavailable; the queue should deliver the message again.
        """
        self._reporter.append_with_retries(job.tenant, event)

    def _attempt(self, job: JobKey, given: int | None) -> int:
        with self._lock:
            known = self._attempts.get(job)
        if given is None:
            try:
                return known or attempt_of(self.served(job))
            except redis.RedisError as error:
                raise LogUnavailable(f"the attempt cannot be read from Redis: {error}") from None
        with self._lock:
            self._attempts[job] = given
            self._attempts.move_to_end(job)
            if len(self._attempts) > REMEMBERED_ATTEMPTS:
                self._attempts.popitem(last=False)
        return given

    def _read(self, name: str) -> dict[str, Any] | None:
        """Return the JSON object that a key holds; None without a key or with another value."""
        raw: Any = self._client.get(name)
        try:
            document = None if raw is None else load_json(raw)
        except ValueError:
            return None
        return document if isinstance(document, dict) else None


def use(bridge: Bridge) -> Bridge:
    """Set the bridge of this process, and return it."""
    _default[:] = [bridge]
    return bridge


def default() -> Bridge:
    """Return the bridge of this process, which is made at its first use.

    Raises:
        SettingsError, InvalidUrl: `JOBTRAIL_REDIS_URL` is not set, or not valid.
    """
    return _default[0] if _default else use(_from_environ())


class _TaskReporter(Reporter):
    """A reporter that no task and no publication waits for while it sends the spool."""

    def _start(self) -> None:
        sending = Thread(target=self.delivery.send_spooled, name="jobtrail spool", daemon=True)
        if self.delivery.has_spool:
            with suppress(RuntimeError):  # no thread: the next process sends it
                sending.start()


def _from_environ(spool: Path | str | None = None, error_text: ErrorText | None = None) -> Bridge:
    settings = Settings.from_environ()
    client = connect(settings.require_redis_url(), timeout=1.0, connect_timeout=1.0)
    reporter = _TaskReporter(EventAppender(client), spool=spool, error_text=error_text)
    return Bridge(client, reporter=reporter, legacy_keys=settings.legacy_keys == "on")


def if_named(
    through: Bridge | None,
    spool: Path | str | None = None,
    error_text: ErrorText | None = None,
) -> Bridge | None:
    """Return the given bridge or the process's own; None, with a warning, if no server is set.

    With the directory of a spool, or an `error_text`, it is a new one instead of the process's own.

    The old calls ignored a Redis that was not configured, as on a developer's machine.
    """
    try:
        own = spool is None and error_text is None
        return through or (default() if own else _from_environ(spool, error_text))
    except (SettingsError, InvalidUrl) as error:
        _LOG.warning("nothing is appended or read: %s", error)
        return None


def _after_fork() -> None:
    for bridge in _BRIDGES:
        bridge.reset_lock()


_default: list[Bridge] = []
os.register_at_fork(after_in_child=_after_fork)


def attempt_of(status: Mapping[str, Any] | None) -> int:
    """Return the attempt in a status document, or 1."""
    attempt = (status or {}).get("attempt")
    return attempt if isinstance(attempt, int) and attempt >= 1 else 1


def state_in(status: Mapping[str, Any] | None, kind: str) -> State | None:
    """Return the state in a status document; None without one, or with another word."""
    try:
        return KINDS[kind].state_of(str((status or {}).get("status")))
    except ValueError:
        return None


def forget() -> None:
    """Drop the bridge of this process; the next call makes a new one."""
    _default.clear()

"""What the old calls go through: one connection a process, and which attempt a call is about.

Nothing is connected before the first call; the server is `JOBTRAIL_REDIS_URL`, unless `use` said
otherwise.

An *attempt* is new to old workers. A call that names none is about the one that this process named
last for the job, or else the one that is served.
"""

from __future__ import annotations

import json
import logging
from collections import OrderedDict
from collections.abc import Mapping
from threading import Lock
from typing import Any

import redis

from ..appender import EventAppender
from ..connection import InvalidUrl, LogUnavailable, connect
from ..events import Event, load_json
from ..failure import text_of
from ..keys import JobKey, Keys
from ..kinds import KINDS, State
from ..reporter import Reporter
from ..settings import Settings, SettingsError

_LOG = logging.getLogger(__name__)

Id = str | int
"""Tenants, jobs and videos are often numbers where they live."""

REMEMBERED_ATTEMPTS = 10_000


class Bridge:
    """What the old calls go through; safe to share between threads.

    Args:
        client: a blocking client whose replies are bytes.
        reporter: how events are appended; one over the same client by default.
        legacy_keys: whether a processing job without a progress document is read from the key
            that workers wrote before keys named tenants.
    """

    def __init__(
        self,
        client: redis.Redis,
        *,
        reporter: Reporter | None = None,
        legacy_keys: bool = False,
    ) -> None:
        self._client = client
        self._keys = Keys()
        self._legacy_keys = legacy_keys
        self._reporter = reporter or Reporter(EventAppender(client))
        self._attempts: OrderedDict[JobKey, int] = OrderedDict()
        self._lock = Lock()

    def served(self, job: JobKey) -> dict[str, Any] | None:
        """Give the status document that readers get, or None.

        Raises:
            redis.RedisError: Redis is away.
        """
        return self._read(self._keys.status(job))

    def progress(self, job: JobKey) -> dict[str, Any] | None:
        """Give the progress document that readers get; None while Redis is away, too."""
        try:
            found = self._read(self._keys.progress(job))
            if found is None and self._legacy_keys and self.state(job) is State.PROCESSING:
                found = self._read(self._keys.legacy_progress(job))
        except redis.RedisError as error:
            _LOG.warning("progress of job %s cannot be read: %s", job.id, error)
            return None
        return found

    def tenantless_progress(self, kind: str, job_id: str) -> dict[str, Any] | None:
        """Give what the old key holds, for callers that know no tenant."""
        try:
            return self._read(self._keys.legacy_progress(JobKey("", kind, job_id)))
        except redis.RedisError as error:
            _LOG.warning("progress of job %s cannot be read: %s", job_id, error)
            return None

    def write_tenantless(self, job_id: str, document: Mapping[str, Any], ttl: int) -> None:
        """Write the old key, as workers did before keys named tenants."""
        _LOG.warning("progress of job %s names no tenant: it goes to the old key alone", job_id)
        key = self._keys.legacy_progress(JobKey("", "job", job_id))
        try:
            self._client.set(key, json.dumps(document, default=text_of), ex=ttl)
        except (redis.RedisError, TypeError, ValueError, RecursionError) as error:
            _LOG.warning("progress of job %s dropped: %s", job_id, error)

    def renew(self, job: JobKey, seconds: int) -> None:
        """Let the documents of an unended job live so long again; an ended job's have no end.

        Raises:
            redis.RedisError: Redis is away.
        """
        for name in (self._keys.status(job), self._keys.progress(job)):
            self._client.expire(name, seconds, gt=True)

    def state(self, job: JobKey) -> State | None:
        """Give where the job stands for readers; None where there is none, or none of ours."""
        status = self.served(job) or {}
        try:
            return KINDS[job.kind].state_of(str(status.get("status")))
        except ValueError:
            return None

    def event(
        self, job: JobKey, form: type[Event], *, attempt: int | None = None, **fields: Any
    ) -> Event:
        """Build an event of the job.

        Raises:
            InvalidEvent, InvalidTenant: a word is not of its form.
            LogUnavailable: the attempt is not known here, and Redis is away.
        """
        job_type = fields.pop("job_type", None)
        report = self._reporter.job(
            job.id,
            tenant=job.tenant,
            kind=job.kind,
            job_type=job_type,
            attempt=self._attempt(job, attempt),
        )
        return report.event(form, **fields)

    def tell(self, job: JobKey, event: Event) -> bool:
        """Append what may be lost; False, with a warning, where it was."""
        return self._reporter.append_or_drop(job.tenant, event)

    def end(self, job: JobKey, event: Event) -> None:
        """Append an end, durably where the server can.

        Raises:
            LogUnavailable: Redis stayed away; let the queue deliver the message again.
        """
        self._reporter.append_with_retries(job.tenant, event)

    def _attempt(self, job: JobKey, named: int | None) -> int:
        with self._lock:
            known = self._attempts.get(job)
        if named is None:
            try:
                return known or attempt_of(self.served(job))
            except redis.RedisError as error:
                raise LogUnavailable(f"Redis cannot be asked for the attempt: {error}") from None
        with self._lock:
            self._attempts[job] = named
            self._attempts.move_to_end(job)
            if len(self._attempts) > REMEMBERED_ATTEMPTS:
                self._attempts.popitem(last=False)
        return named

    def _read(self, name: str) -> dict[str, Any] | None:
        """Give the JSON object that a key holds; None for no key and for anything else."""
        raw: Any = self._client.get(name)
        try:
            document = None if raw is None else load_json(raw)
        except ValueError:
            return None
        return document if isinstance(document, dict) else None


def use(bridge: Bridge) -> Bridge:
    """Let the calls of this process go through a bridge from now on; gives it back."""
    _default[:] = [bridge]
    return bridge


def default() -> Bridge:
    """Give this process's bridge, made at its first use.

    Raises:
        SettingsError, InvalidUrl: `JOBTRAIL_REDIS_URL` is not set, or wrong.
    """
    if _default:
        return _default[0]
    settings = Settings.from_environ()
    client = connect(settings.require_redis_url(), timeout=1.0, connect_timeout=1.0)
    return use(Bridge(client, legacy_keys=settings.legacy_keys == "on"))


def if_named(through: Bridge | None) -> Bridge | None:
    """Give the bridge to go through; None, with a warning, where the environment names no server.

    The old calls passed over a Redis that was not configured, as on a developer's machine.
    """
    try:
        return through or default()
    except (SettingsError, InvalidUrl) as error:
        _LOG.warning("nothing is appended or read: %s", error)
        return None


_default: list[Bridge] = []


def attempt_of(status: Mapping[str, Any] | None) -> int:
    """Give the attempt that a status document is about; 1 where it tells of none."""
    attempt = (status or {}).get("attempt")
    return attempt if isinstance(attempt, int) and attempt >= 1 else 1


def forget() -> None:
    """Let the next call make a bridge anew."""
    _default.clear()

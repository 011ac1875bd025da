"""Old calls about progress: adapters that append events instead of writing Redis keys.

No call raises. An event that cannot be appended, or an environment without a server, is a warning.
Used by applications through `jobtrail.compat`.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

import redis

from ..connection import LogUnavailable
from ..events import InvalidEvent, Progress
from ..failure import text_of
from ..keys import InvalidTenant, JobKey
from ..runtime.safe_text import visible
from .bridge import Bridge, Id, if_named

_LOG = logging.getLogger(__name__)

TTL_SECONDS = 21_600
"""Time to live of the keys of an unended job after its last event; the projection's default."""

_LARGEST = 2**53
"""Greatest count or estimate that an event may have."""


def _number(value: Any) -> float:
    """Return a value as a number; NaN and infinity are allowed and written as null.

    Raises:
        TypeError, ValueError, OverflowError: it is not a number, or too large for an event.
    """
    number = float(value)
    if math.isfinite(number) and abs(number) > _LARGEST:
        raise ValueError("larger than an event may have")
    return number


def _count(value: Any) -> int:
    count = int(value)
    if not 0 <= count <= _LARGEST:
        raise ValueError("not a count that an event may have")
    return count


def _remaining(value: Any) -> float:
    """Return an estimate; a negative one is 0, as old readers displayed it."""
    return max(_number(value), 0.0)


_NAMED: Mapping[str, Callable[[Any], Any]] = {
    "percent": _number,
    "step_index": _count,
    "step_total": _count,
    "step_name_display": lambda value: text_of(value)[:200],
    "step_percent": _number,
    "remaining_seconds": _remaining,
}
"""Keys of an old call's extra that are fields of an event, and the conversion of their values."""

NEVER_RAISED = (LogUnavailable, InvalidEvent, InvalidTenant, redis.RedisError, UnicodeError)
"""Errors that a call about progress turns into a warning; UnicodeError is that of an odd id."""


class RedisProgressAdapter:
    """Old adapter for the progress of jobs other than videos.

    Args:
        ttl_seconds: time to live of keys that calls without a tenant write.
    """

    def __init__(self, ttl_seconds: int = TTL_SECONDS, *, through: Bridge | None = None) -> None:
        self._ttl = ttl_seconds
        self._bridge = through

    def record_progress(
        self,
        job_id: Id,
        step: str,
        extra: Mapping[str, Any] | None = None,
        tenant_id: Id | None = None,
    ) -> None:
        """Append a progress event.

        Without a tenant there is no stream for it: the old key is written instead, which is read
        while `JOBTRAIL_LEGACY_KEYS=on`.
        """
        bridge = if_named(self._bridge)
        if bridge is None:
            return
        if tenant_id not in (None, ""):
            record(bridge, JobKey(str(tenant_id), "job", str(job_id)), step, extra)
        else:
            _record_tenantless(bridge, str(job_id), step, extra, self._ttl)

    def get_progress(self, job_id: Id, tenant_id: Id | None = None) -> dict[str, Any] | None:
        """Return the progress document, or without a tenant the document of the old key."""
        bridge = if_named(self._bridge)
        if bridge is None:
            return None
        if tenant_id not in (None, ""):
            return bridge.progress(JobKey(str(tenant_id), "job", str(job_id)))
        return bridge.tenantless_progress("job", str(job_id))


class VideoProgressAdapter:
    """Old adapter for the progress of one video; the job id of its calls is ignored.

    Args:
        ttl_seconds: ignored; the projection sets the time to live.
    """

    def __init__(
        self,
        video_id: Id,
        tenant_id: Id,
        ttl_seconds: int = TTL_SECONDS,  # noqa: ARG002 - the old signature
        *,
        through: Bridge | None = None,
    ) -> None:
        self._job = JobKey(str(tenant_id), "video", str(video_id))
        self._bridge = through

    def record_progress(
        self,
        job_id: Id,  # noqa: ARG002 - the old interface
        step: str,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """Append a progress event of this video."""
        bridge = if_named(self._bridge)
        if bridge is not None:
            record(bridge, self._job, step, extra)

    def get_progress(self, job_id: Id = "") -> dict[str, Any] | None:  # noqa: ARG002 - likewise
        """Return the progress document of this video."""
        bridge = if_named(self._bridge)
        return None if bridge is None else bridge.progress(self._job)

    def get_progress_direct(self) -> dict[str, Any] | None:
        """Return the progress document of this video, without a job id."""
        return self.get_progress()


def record(bridge: Bridge, job: JobKey, step: str | None, extra: Mapping[str, Any] | None) -> bool:
    """Append a progress event for an old call; log a warning and return False if that failed."""
    named: dict[str, Any] = {"step": None if step is None else text_of(step)[:200]}
    try:
        try:
            fields, free = _split(extra)
            named |= fields
            event = bridge.event(job, Progress, extra=free, **named)
        except InvalidEvent as error:
            # Old keys could hold anything: it is appended without the free keys of the extra.
            _LOG.warning("extra of job %s dropped: %s", visible(job.id), error)
            event = bridge.event(job, Progress, **named)
        return bridge.append_or_drop(job, event)
    except NEVER_RAISED as error:
        _LOG.warning("progress of job %s dropped: %s", visible(job.id), error)
        return False


def _record_tenantless(
    bridge: Bridge, job_id: str, step: str, extra: Mapping[str, Any] | None, ttl: int
) -> None:
    try:
        document = {"step": step, **plain(extra or {})}
    except InvalidEvent as error:
        _LOG.warning("extra of job %s dropped: %s", visible(job_id), error)
        document = {"step": step}
    bridge.write_tenantless(job_id, document, ttl)


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values of an old call as plain JSON values, like `json.dumps` with `default=text_of`.

    Raises:
        InvalidEvent: a key is neither text nor number, or a value contains itself.
    """
    try:
        made: dict[str, Any] = json.loads(json.dumps(dict(values), default=text_of))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidEvent("not_json", f"it cannot be written as JSON: {error}") from None
    return made


def _split(extra: Mapping[str, Any] | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the fields of the event and the free keys in an old call's extra, as plain JSON."""
    named: dict[str, Any] = {}
    free = plain(extra or {})
    free.pop("step_name", None)  # always the step itself
    for name, form in _NAMED.items():
        value = free.pop(name, None)
        try:
            named[name] = None if value is None else form(value)
        except (TypeError, ValueError, OverflowError):
            free[name] = value  # only the history keeps the value; readers get null
    return named, free

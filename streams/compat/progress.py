"""The old calls about progress: adapters that append events instead of writing Redis keys.

No call here raises: what could not be appended, or an environment that names no server, is a
warning.
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
from .bridge import Bridge, Id, if_named

_LOG = logging.getLogger(__name__)

TTL_SECONDS = 21_600
"""How long the keys of an unended job live after its last event; the projection's own setting."""

_LARGEST = 2**53
"""Up to which an event takes counts and estimates; a percent beyond it is none."""


def _number(value: Any) -> float:
    """Read a number; NaN and infinity pass, and are written as null."""
    number = float(value)
    if math.isfinite(number) and abs(number) > _LARGEST:
        raise ValueError("larger than an event takes")
    return number


def _count(value: Any) -> int:
    count = int(value)
    if not 0 <= count <= _LARGEST:
        raise ValueError("no count that an event takes")
    return count


def _remaining(value: Any) -> float:
    """Read an estimate; one that was overrun is 0, as old readers always showed it."""
    return max(_number(value), 0.0)


_NAMED: Mapping[str, Callable[[Any], Any]] = {
    "percent": _number,
    "step_index": _count,
    "step_total": _count,
    "step_name_display": lambda value: text_of(value)[:200],
    "step_percent": _number,
    "remaining_seconds": _remaining,
}
"""What an event has fields of its own for, and how a loosely typed value is read."""

NEVER_RAISED = (LogUnavailable, InvalidEvent, InvalidTenant, redis.RedisError)
"""What a call about progress meets with a warning."""


class RedisProgressAdapter:
    """Progress of jobs that are no videos: AI, messaging, imports.

    Args:
        ttl_seconds: of keys that a call without a tenant writes; the projection sets all others'.
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

        Without a tenant there is no log that it belongs to: the old key is written, as ever, and
        read while `JOBTRAIL_LEGACY_KEYS=on`.
        """
        bridge = if_named(self._bridge)
        if bridge is None:
            return
        if tenant_id:
            record(bridge, JobKey(str(tenant_id), "job", str(job_id)), step, extra)
        else:
            bridge.write_tenantless(str(job_id), {"step": step, **(extra or {})}, self._ttl)

    def get_progress(self, job_id: Id, tenant_id: Id | None = None) -> dict[str, Any] | None:
        """Give the progress document, or the old key's where no tenant was named."""
        bridge = if_named(self._bridge)
        if bridge is None:
            return None
        if tenant_id:
            return bridge.progress(JobKey(str(tenant_id), "job", str(job_id)))
        return bridge.tenantless_progress("job", str(job_id))


class VideoProgressAdapter:
    """Progress of one video; the job id that its calls are given is ignored.

    Args:
        ttl_seconds: taken for the old signature's sake; the projection sets the time to live.
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
        """Give this video's progress document."""
        bridge = if_named(self._bridge)
        return None if bridge is None else bridge.progress(self._job)

    def get_progress_direct(self) -> dict[str, Any] | None:
        """Give the same without a job id."""
        return self.get_progress()


def record(bridge: Bridge, job: JobKey, step: str | None, extra: Mapping[str, Any] | None) -> bool:
    """Append a progress event of what an old call said; False, with a warning, where it failed."""
    named: dict[str, Any] = {"step": None if step is None else text_of(step)[:200]}
    try:
        try:
            fields, free = _sorted_out(extra)
            named |= fields
            event = bridge.event(job, Progress, extra=free, **named)
        except InvalidEvent as error:
            # The old keys held anything; how far the job is must not be lost to a keepsake.
            _LOG.warning("extra of job %s dropped: %s", job.id, error)
            event = bridge.event(job, Progress, **named)
        return bridge.tell(job, event)
    except NEVER_RAISED as error:
        _LOG.warning("progress of job %s dropped: %s", job.id, error)
        return False


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Make an old call's values plain JSON, as its `json.dumps(…, default=str)` did.

    Raises:
        InvalidEvent: that did not write them either: a key is no text, or it holds itself.
    """
    try:
        made: dict[str, Any] = json.loads(json.dumps(dict(values), default=text_of))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidEvent("not_json", f"it cannot be written as JSON: {error}") from None
    return made


def _sorted_out(extra: Mapping[str, Any] | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Part an old call's extra into fields of the event and free keys, and make both plain JSON."""
    named: dict[str, Any] = {}
    free = plain(extra or {})
    free.pop("step_name", None)  # always the step itself
    for name, form in _NAMED.items():
        value = free.pop(name, None)
        try:
            named[name] = None if value is None else form(value)
        except (TypeError, ValueError, OverflowError):
            free[name] = value  # readers have always been given it, whatever it was
    return named, free

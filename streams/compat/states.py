"""The old calls that say how a job stands, as events; `progress` has those about progress.

Workers call them twice, late, and against each other: queues deliver at least once. What is served
already is not appended again, and what would lose by the fold's ranks (a failure after a `done`) is
not appended at all. Where two processes still race, the fold settles it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import redis

from ..events import Cancelled, Done, Event, Failed, InvalidEvent, Processing, Queued
from ..failure import text_of, valid_text
from ..keys import JobKey
from ..kinds import KINDS, State
from .bridge import Bridge, Id, attempt_of, default, if_named
from .progress import NEVER_RAISED, TTL_SECONDS, plain

_LOG = logging.getLogger(__name__)

Outcome = tuple[bool, str]
"""Whether the job stands as the call wished, and a word: `ok` where an event was appended,
`idempotent` where it stood so already, else the state that it stands in for good."""

_FORMS: Mapping[State, type[Event]] = {
    State.QUEUED: Queued,
    State.PROCESSING: Processing,
    State.DONE: Done,
    State.FAILED: Failed,
    State.CANCELLED: Cancelled,
}


class VideoCalls:
    """A tenant's `mark_processing`, `complete_video` and `fail_video`.

    A video that is encoded again after its end needs a higher `attempt`: without one an end stands.

    Each raises LogUnavailable where Redis stayed away: let the queue deliver the message again.
    """

    def __init__(self, tenant_id: Id, *, through: Bridge | None = None) -> None:
        self._tenant = str(tenant_id)
        self._bridge = through

    def mark_processing(self, video_id: Id, *, attempt: int | None = None) -> bool:
        """Say that a worker took the video; False where it has ended."""
        return self._tell(video_id, State.PROCESSING, attempt)[0]

    def complete_video(
        self,
        video_id: Id,
        hls_path: str,
        duration: int | None = None,
        *,
        attempt: int | None = None,
    ) -> Outcome:
        """Say that the video is ready; wins over a failure of the same attempt."""
        result: dict[str, Any] = {"hls_path": str(hls_path)}
        if duration is not None and duration >= 0:
            result["duration"] = duration
        return self._tell(video_id, State.DONE, attempt, result=result)

    def fail_video(self, video_id: Id, reason: str, *, attempt: int | None = None) -> Outcome:
        """Say that the video failed; a video that is ready stays so."""
        return self._tell(video_id, State.FAILED, attempt, error=valid_text(text_of(reason)))

    def _tell(self, video_id: Id, state: State, attempt: int | None, **fields: Any) -> Outcome:
        job = JobKey(self._tenant, "video", str(video_id))
        return tell_state(self._bridge or default(), job, state, attempt, **fields)


def cache_video_status(  # noqa: PLR0917 - the old signature
    tenant_id: Id,
    video_id: Id,
    status: object,
    hls_path: str | None = None,
    duration: int | None = None,
    error_reason: str | None = None,
    ttl: int | None = None,  # noqa: ARG001 - likewise; the projection sets it
    *,
    attempt: int | None = None,
    through: Bridge | None = None,
) -> bool:
    """Say how a video stands, in a video's words; False, with a warning, where that failed."""
    told = {"hls_path": hls_path, "duration": duration}
    result = {name: value for name, value in told.items() if value is not None}
    job = JobKey(str(tenant_id), "video", str(video_id))
    return _cached(through, job, status, attempt, result=result, error=error_reason)


def cache_job_status(  # noqa: PLR0917 - the old signature
    tenant_id: Id,
    job_id: Id,
    status: object,
    job_type: str | None = None,
    error_message: str | None = None,
    result: Mapping[str, Any] | None = None,
    ttl: int | None = None,  # noqa: ARG001 - likewise
    *,
    attempt: int | None = None,
    through: Bridge | None = None,
) -> bool:
    """Say how a job stands, in a job's words; False, with a warning, where that failed."""
    job = JobKey(str(tenant_id), "job", str(job_id))
    said = {"job_type": job_type, "result": result, "error": error_message}
    return _cached(through, job, status, attempt, **said)


def refresh_video_progress_ttl(tenant_id: Id, video_id: Id, ttl: int = TTL_SECONDS) -> bool:
    """Let an unended video's keys live `ttl` seconds again; False where Redis is away."""
    return _renewed(JobKey(str(tenant_id), "video", str(video_id)), ttl)


def refresh_job_progress_ttl(tenant_id: Id, job_id: Id, ttl: int = TTL_SECONDS) -> bool:
    """Let an unended job's keys live `ttl` seconds again; False where Redis is away."""
    return _renewed(JobKey(str(tenant_id), "job", str(job_id)), ttl)


def tell_state(
    bridge: Bridge, job: JobKey, state: State, attempt: int | None = None, **fields: Any
) -> Outcome:
    """Append what an old call said, unless it is served already or can no longer win.

    Raises:
        InvalidEvent, InvalidTenant: a word is not of its form.
        LogUnavailable: Redis stayed away.
    """
    settled = _settled(bridge, job, state, attempt, fields.get("job_type"))
    if settled is not None:
        return settled
    form = _FORMS[state]
    try:
        event = bridge.event(job, form, attempt=attempt, **plain(fields))
    except InvalidEvent as error:
        if "result" not in fields:
            raise
        # An end is worth more than its result.
        _LOG.warning("the result of job %s was left out: %s", job.id, error)
        event = bridge.event(job, form, attempt=attempt, **plain(fields | {"result": {}}))
    if state is State.PROCESSING:
        bridge.tell(job, event)
    else:
        bridge.end(job, event)
    return True, "ok"


def _settled(
    bridge: Bridge, job: JobKey, state: State, attempt: int | None, job_type: str | None
) -> Outcome | None:
    """Give the outcome of a call that has nothing to append, or None."""
    try:
        served, now = bridge.served(job), bridge.state(job)
    except redis.RedisError:
        return None  # the append waits for Redis, and the fold settles the rest
    if now is None or (attempt is not None and attempt > attempt_of(served)):
        return None
    if now is state:
        # Progress may have been first to say that the job is processed, without its type.
        news = job_type is not None and (served or {}).get("job_type") is None
        return None if news else (True, "idempotent")
    if now is State.DONE or (now.ended and state is not State.DONE):
        _LOG.warning("%s %s is %s and stays so: %s ignored", job.kind, job.id, now, state)
        return False, now.value
    return None


def _cached(
    through: Bridge | None, job: JobKey, status: object, attempt: int | None, **said: Any
) -> bool:
    bridge = if_named(through)
    if bridge is None:
        return False
    try:
        state = KINDS[job.kind].state_of(str(getattr(status, "value", status)))
        fields = {"job_type": said.get("job_type"), **_told(state, said["result"], said["error"])}
        return tell_state(bridge, job, state, attempt, **fields)[0]
    except (*NEVER_RAISED, ValueError) as problem:
        _LOG.warning("the status of %s %s was not appended: %s", job.kind, job.id, problem)
        return False


def _told(state: State, result: Mapping[str, Any] | None, error: str | None) -> dict[str, Any]:
    """Give the fields that an event of this state has for what the old call said."""
    if state is State.DONE:
        return {"result": result}
    if state is State.FAILED:
        return {"error": None if error is None else valid_text(text_of(error))}
    return {"reason": error} if state is State.CANCELLED else {}


def _renewed(job: JobKey, ttl: int) -> bool:
    bridge = if_named(None)
    if bridge is None:
        return False
    try:
        bridge.renew(job, ttl)
    except redis.RedisError as error:
        _LOG.warning("the keys of %s %s were not renewed: %s", job.kind, job.id, error)
        return False
    return True

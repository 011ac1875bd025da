"""Old calls that set the state of a job, as events.

Queues deliver at least once, so that workers make these calls twice, late and at the same time as
others. A state that is served already is not appended again, and one that cannot win by the ranks
of the fold (a failure after `done`) is not appended at all. If two processes race, the fold
decides. Used by applications through `streams.compat`, and by `streams.integrations`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import redis

from ..events import Cancelled, Done, Event, Failed, InvalidEvent, Processing, Queued
from ..failure import text_of, valid_text
from ..keys import JobKey
from ..kinds import KINDS, State
from .bridge import Bridge, Id, attempt_of, default, if_named, state_in
from .progress import NEVER_RAISED, TTL_SECONDS, plain

_LOG = logging.getLogger(__name__)

Outcome = tuple[bool, str]
"""True if the job has the state of the call, and a word: `ok` if an event was appended,
`idempotent` if the job had the state already, or else the state that the job keeps."""

_FORMS: Mapping[State, type[Event]] = {
    State.QUEUED: Queued,
    State.PROCESSING: Processing,
    State.DONE: Done,
    State.FAILED: Failed,
    State.CANCELLED: Cancelled,
}


class VideoCalls:
    """Old calls about the videos of a tenant.

    A video that is encoded again after its end needs a higher `attempt`; otherwise its end stays.

    Each call raises LogUnavailable if Redis stayed unavailable: the queue should deliver the
    message again.
    """

    def __init__(self, tenant_id: Id, *, through: Bridge | None = None) -> None:
        self._tenant = str(tenant_id)
        self._bridge = through

    def mark_processing(self, video_id: Id, *, attempt: int | None = None) -> bool:
        """Report that a worker took the video; return False if the video has ended."""
        return self._append(video_id, State.PROCESSING, attempt)[0]

    def complete_video(
        self,
        video_id: Id,
        hls_path: str,
        duration: int | None = None,
        *,
        attempt: int | None = None,
    ) -> Outcome:
        """Report that the video is ready, which replaces a failure of the same attempt."""
        result: dict[str, Any] = {"hls_path": str(hls_path)}
        if duration is not None and duration >= 0:
            result["duration"] = duration
        return self._append(video_id, State.DONE, attempt, result=result)

    def fail_video(self, video_id: Id, reason: str, *, attempt: int | None = None) -> Outcome:
        """Report that the video failed; a video that is ready stays ready."""
        return self._append(video_id, State.FAILED, attempt, error=valid_text(text_of(reason)))

    def _append(self, video_id: Id, state: State, attempt: int | None, **fields: Any) -> Outcome:
        job = JobKey(self._tenant, "video", str(video_id))
        return append_state(self._bridge or default(), job, state, attempt, **fields)


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
    """Set the state of a video by a word for it; return False, with a warning, if that failed."""
    given = {"hls_path": hls_path, "duration": duration}
    result = {name: value for name, value in given.items() if value is not None}
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
    """Set the state of a job by a word for it; return False, with a warning, if that failed."""
    job = JobKey(str(tenant_id), "job", str(job_id))
    fields = {"job_type": job_type, "result": result, "error": error_message}
    return _cached(through, job, status, attempt, **fields)


def refresh_video_progress_ttl(tenant_id: Id, video_id: Id, ttl: int = TTL_SECONDS) -> bool:
    """Set the time to live of an unended video's keys; return False if Redis is unavailable."""
    return _renewed(JobKey(str(tenant_id), "video", str(video_id)), ttl)


def refresh_job_progress_ttl(tenant_id: Id, job_id: Id, ttl: int = TTL_SECONDS) -> bool:
    """Set the time to live of an unended job's keys; return False if Redis is unavailable."""
    return _renewed(JobKey(str(tenant_id), "job", str(job_id)), ttl)


def append_state(
    bridge: Bridge,
    job: JobKey,
    state: State,
    attempt: int | None = None,
    *,
    seconds_left: Callable[[], float] | None = None,
    **fields: Any,
) -> Outcome:
    """Append the event of a state, unless the state is served already or can no longer win.

    `seconds_left` is called before it is appended, and returns how long it is retried, if that is
    not the reporter's own time for ends. A refusal is not retried then.

    Raises:
        InvalidEvent, InvalidTenant: a value is not valid.
        LogUnavailable: Redis stayed unavailable.
        Exception: what `seconds_left` raises, and nothing was appended.
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
        # The end is appended without its result.
        _LOG.warning("the result of job %s was left out: %s", job.id, error)
        event = bridge.event(job, form, attempt=attempt, **plain(fields | {"result": {}}))
    if state is State.PROCESSING:
        bridge.append_or_drop(job, event)
    elif seconds_left is not None:
        bridge.publish(job, event, seconds_left())
    else:
        bridge.end(job, event)
    return True, "ok"


def _settled(
    bridge: Bridge, job: JobKey, state: State, attempt: int | None, job_type: str | None
) -> Outcome | None:
    """Return the outcome of a call if there is nothing to append, or None."""
    try:
        served = bridge.served(job)
    except redis.RedisError:
        return None  # the append waits for Redis, and the fold decides
    now = state_in(served, job.kind)
    if now is None or (attempt is not None and attempt > attempt_of(served)):
        return None
    if now is state:
        # A progress event, which has no job type, may have made the job a processing one.
        adds_type = job_type is not None and (served or {}).get("job_type") is None
        return None if adds_type else (True, "idempotent")
    if now is State.DONE or (now.ended and state is not State.DONE):
        _LOG.warning("%s %s is %s and stays so: %s ignored", job.kind, job.id, now, state)
        return False, now.value
    return None


def _cached(
    through: Bridge | None, job: JobKey, status: object, attempt: int | None, **fields: Any
) -> bool:
    bridge = if_named(through)
    if bridge is None:
        return False
    try:
        state = KINDS[job.kind].state_of(str(getattr(status, "value", status)))
        of_state = _fields_of(state, fields["result"], fields["error"])
        job_type = fields.get("job_type")
        return append_state(bridge, job, state, attempt, job_type=job_type, **of_state)[0]
    except (*NEVER_RAISED, ValueError) as problem:
        _LOG.warning("the status of %s %s was not appended: %s", job.kind, job.id, problem)
        return False


def _fields_of(state: State, result: Mapping[str, Any] | None, error: str | None) -> dict[str, Any]:
    """Return the fields of an event of this state, from the arguments of an old call."""
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

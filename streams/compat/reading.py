"""Old readers: the status and the progress of a job, for example for the views of Django.

Django is not required. While Redis is unavailable or not configured, readers return None.

With `wait_until=ENTRY_ID`, the id that an append returned, each reader waits until the projection
has settled that entry, for `wait` seconds at most, and then returns what is known. `is_reflected`
tells whether an entry is settled: applied, or known to change nothing. Used by `streams.compat`.
"""

from __future__ import annotations

import logging
from typing import Any, TypedDict

import redis

from ..entry_ids import EntryId
from ..keys import JobKey
from ..kinds import KINDS
from ..progress_display import displayed_step, overall_percent, whole_number
from .bridge import Bridge, Id, if_named

WAIT_SECONDS = 2.0
"""Seconds for which a reader waits for an entry by default; most are settled much sooner."""

Entry = EntryId | str
"""An entry id, or its text `milliseconds-sequence`."""

_LOG = logging.getLogger(__name__)


class StepDetail(TypedDict):
    """Step of a video with several steps; `step_percent` is the progress of the step, 0–100."""

    step_index: int
    step_total: int
    step_name: str
    step_name_display: str
    step_percent: int


def get_video_status(
    tenant_id: Id,
    video_id: Id,
    *,
    wait_until: Entry | None = None,
    wait: float = WAIT_SECONDS,
    through: Bridge | None = None,
) -> dict[str, Any] | None:
    """Return the status document of a video, or None.

    Raises:
        ValueError: `wait_until` is not an entry id.
    """
    _wait(tenant_id, wait_until, wait, through)
    return _status(JobKey(str(tenant_id), "video", str(video_id)), through)


def get_job_status(
    tenant_id: Id,
    job_id: Id,
    *,
    wait_until: Entry | None = None,
    wait: float = WAIT_SECONDS,
    through: Bridge | None = None,
) -> dict[str, Any] | None:
    """Return the status document of a job, or None.

    Raises:
        ValueError: `wait_until` is not an entry id.
    """
    _wait(tenant_id, wait_until, wait, through)
    return _status(JobKey(str(tenant_id), "job", str(job_id)), through)


def is_reflected(
    tenant_id: Id, entry_id: Entry, *, wait: float = 0.0, through: Bridge | None = None
) -> bool:
    """Return True once the documents reflect an entry of the tenant; wait for it if necessary.

    The result is False if they do not within `wait` seconds, or if Redis is unavailable.

    Raises:
        ValueError: `entry_id` is not an entry id.
    """
    bridge = if_named(through)
    try:
        return bridge is not None and bridge.reflects(str(tenant_id), entry_id, wait)
    except redis.RedisError as error:
        _LOG.warning("whether entry %s is reflected cannot be read: %s", entry_id, error)
        return False


get_video_status_from_redis = get_video_status
get_job_status_from_redis = get_job_status


def get_video_encoding_progress(
    video_id: Id,
    tenant_id: Id | None = None,
    *,
    wait_until: Entry | None = None,
    wait: float = WAIT_SECONDS,
    through: Bridge | None = None,
) -> int | None:
    """Return the overall progress of a video, 0–100, or None.

    Raises:
        ValueError: `wait_until` is not an entry id, or is given without a tenant.
    """
    _wait(tenant_id, wait_until, wait, through)
    progress = _progress(video_id, tenant_id, through)
    return None if progress is None else overall_percent(KINDS["video"], progress)


def get_video_encoding_remaining_seconds(
    video_id: Id,
    tenant_id: Id | None = None,
    *,
    wait_until: Entry | None = None,
    wait: float = WAIT_SECONDS,
    through: Bridge | None = None,
) -> int | None:
    """Return the worker's estimate of the time left in seconds, or None.

    Raises:
        ValueError: `wait_until` is not an entry id, or is given without a tenant.
    """
    _wait(tenant_id, wait_until, wait, through)
    return whole_number((_progress(video_id, tenant_id, through) or {}).get("remaining_seconds"))


def get_video_encoding_step_detail(
    video_id: Id,
    tenant_id: Id | None = None,
    *,
    wait_until: Entry | None = None,
    wait: float = WAIT_SECONDS,
    through: Bridge | None = None,
) -> StepDetail | None:
    """Return the step to display, or None if a part of it is missing.

    Raises:
        ValueError: `wait_until` is not an entry id, or is given without a tenant.
    """
    _wait(tenant_id, wait_until, wait, through)
    step = displayed_step(_progress(video_id, tenant_id, through) or {})
    if step.index is None or step.total is None or step.name is None or step.percent is None:
        return None
    return StepDetail(
        step_index=step.index,
        step_total=step.total,
        step_name=step.name,
        step_name_display=step.display or step.name,
        step_percent=step.percent,
    )


def _wait(
    tenant_id: Id | None, entry_id: Entry | None, seconds: float, through: Bridge | None
) -> None:
    """Wait until the documents reflect an entry, if one is given."""
    if entry_id is None:
        return
    if not tenant_id:
        raise ValueError("wait_until needs tenant_id: an entry belongs to a tenant's stream")
    is_reflected(tenant_id, entry_id, wait=seconds, through=through)


def _progress(video_id: Id, tenant_id: Id | None, through: Bridge | None) -> dict[str, Any] | None:
    bridge = if_named(through)
    if bridge is None:
        return None
    if tenant_id:
        return bridge.progress(JobKey(str(tenant_id), "video", str(video_id)))
    return bridge.tenantless_progress("video", str(video_id))


def _status(job: JobKey, through: Bridge | None) -> dict[str, Any] | None:
    bridge = if_named(through)
    try:
        return None if bridge is None else bridge.served(job)
    except redis.RedisError as error:
        _LOG.warning("the status of %s %s cannot be read: %s", job.kind, job.id, error)
        return None

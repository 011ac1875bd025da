"""The state of a job: what its events, in whatever order they came, add up to.

Every field is a join: of two candidates one rule says which stands, so that the order of arrival,
duplicates and regrouping change nothing. Where the value alone does not say who wins, the state
remembers the *position* of its source (its attempt and entry id).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from streams.entry_ids import EntryId
from streams.kinds import State


class Moment(NamedTuple):
    """A point in a job's life: which entry told of it, and when it happened."""

    entry_id: EntryId
    at: datetime


class Told(NamedTuple):
    """A word that any event may tell; the highest attempt's latest entry stands."""

    attempt: int
    entry_id: EntryId
    value: str


class OmittedResult(NamedTuple):
    """A result that was too large for the document that this state was read from."""

    bytes: int


PROGRESS_FIELDS = (
    "step",
    "percent",
    "step_index",
    "step_total",
    "step_name",
    "step_name_display",
    "step_percent",
    "remaining_seconds",
)
"""The named keys of a progress document; `extra` has its own keys beside them."""


class ProgressState(NamedTuple):
    """The winning attempt's latest progress; percents lie in 0–100."""

    entry_id: EntryId
    step: str | None
    percent: float | None
    step_index: int | None
    step_total: int | None
    step_name_display: str | None
    step_percent: float | None
    remaining_seconds: float | None
    extra: Mapping[str, Any]
    """Free keys, none of them a named one."""


class JobState(NamedTuple):
    """The state of one job."""

    attempt: int
    state: State
    entry_id: EntryId
    """The entry of the event that won."""
    updated_at: datetime
    """When the event that won happened."""
    worker: str | None
    result: Mapping[str, Any] | OmittedResult | None
    error: str | None
    """Why it failed or was cancelled."""
    code: str | None
    created: Moment
    """The job's earliest entry."""
    started: Moment | None
    """The winning attempt's earliest sign of work."""
    job_type: Told | None
    labels: Mapping[str, Told]
    progress: ProgressState | None

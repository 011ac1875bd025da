"""The state of a job: the result of folding its events, in whatever order they were read.

Each field is decided by a rule that compares two candidates, so that the order of arrival,
duplicates and grouping change nothing. Where the value alone does not decide, the state also holds
the *provenance* of the value: the entry, and for some the attempt, that it came from.

The fold makes states; documents, rows and replays store and compare them. Used by
`projections.documents`, `projections.fold`, `projections.replay`, `projections.rows` and
`projections.status`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from streams.entry_ids import EntryId
from streams.kinds import State


class Moment(NamedTuple):
    """A time in the life of a job, with the entry that it came from."""

    entry_id: EntryId
    at: datetime


class AttributedValue(NamedTuple):
    """A value that any event may have, with its provenance.

    The value of the highest attempt's latest entry is used.
    """

    attempt: int
    entry_id: EntryId
    value: str


class OmittedResult(NamedTuple):
    """A result that was too large for the document from which the state was read."""

    bytes: int


class ProgressState(NamedTuple):
    """The latest progress of the winning attempt."""

    entry_id: EntryId
    fields: Mapping[str, Any]
    """The progress document: all named fields (`progress_fields`), and free keys beside them."""


class JobState(NamedTuple):
    """The state of one job."""

    attempt: int
    state: State
    entry_id: EntryId
    """The entry of the winner."""
    updated_at: datetime
    """When the winner happened."""
    worker: str | None
    result: Mapping[str, Any] | OmittedResult | None
    error: str | None
    """The reason of a failure or cancellation."""
    code: str | None
    created: Moment
    """The earliest entry of the job."""
    started: Moment | None
    """The earliest entry of the winning attempt's work."""
    job_type: AttributedValue | None
    labels: Mapping[str, AttributedValue]
    progress: ProgressState | None

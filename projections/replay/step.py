"""The step of a replay or reset, as its caller counts it. Replays of added projections yield it.

Used by `ops.tasks.replay.replay`, `projections.registry`, `projections.replay.repair`,
`projections.replay.reset.documents` and `projections.replay.reset.rows`.
"""

from __future__ import annotations

from typing import NamedTuple

from streams.keys import JobKey


class ReplayStep(NamedTuple):
    """One stored batch of a replay."""

    last: JobKey | None
    """The last job of which all events are applied; an interrupted replay continues after it."""
    events: int
    jobs: int
    expired: int = 0
    """Jobs of the batch whose documents would have expired by now, and were not written."""
    kept: int = 0
    """Replaced states that were kept."""
    changed: int | None = None
    """Rows that a reset changed; None for other steps."""

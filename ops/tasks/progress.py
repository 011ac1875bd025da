"""The progress that long tasks report; the commands show it (`ops.progress_lines`).

Used by `ops.progress_lines`, `ops.tasks.replay.recording`, `ops.tasks.replay.replay` and
`ops.tasks.replay.verification`.
"""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives how many events a task has and how many are done."""

    def expect(self, events: int) -> None:
        """Add events to the total."""
        ...

    def advance(self, events: int) -> None:
        """Add events to those that are done."""
        ...

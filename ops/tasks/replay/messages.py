"""Messages of the processes of `replay` and `verify` to the command (`ops.tasks.parallel`).

A process also sends each `ReplayStep`, and the numbers of events that `verify` has compared. Used
by `ops.commands.verify`, `ops.tasks.replay.replay` and `ops.tasks.replay.verification`.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Expected(NamedTuple):
    """The number of events that a share has."""

    events: int


class ShareDone(NamedTuple):
    """The end of a share."""

    jobs: int = 0
    """Jobs that were verified."""
    skipped: int = 0
    """Entries that cannot be applied."""
    unknown: bool = False
    """True if the tenant of the command has no events."""


class FoundDifference(NamedTuple):
    """A difference between the events and the projection, as facts and as a line of text."""

    facts: dict[str, Any]
    text: str

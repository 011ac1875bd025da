"""Results of `replay`: `facts()` for JSON, `str()` for a line of text.

Used by the other modules of `ops.tasks.replay`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from ops.text.plurals import counted


class ReplayOutcome(NamedTuple):
    """The result of a replay or a reset."""

    projection: str
    events: int
    jobs: int
    kept: int
    """States that the reset replaced and saved in the database, until `--drop-old`."""
    skipped: int
    """Entries that cannot be applied."""
    seconds: float
    unknown: bool
    """True if the tenant of the command has no events."""
    left_expired: int | None = None
    """Jobs whose documents had expired and were not written again; None without documents."""
    changed: int | None = None
    """Rows that a reset changed; None for other commands."""

    def facts(self) -> dict[str, Any]:
        """Return the figures by name."""
        facts = self._asdict()
        del facts["unknown"]
        return {name: value for name, value in facts.items() if value is not None}

    def __str__(self) -> str:
        """Return the figures as a sentence."""
        rate = self.events / max(self.seconds, 0.001)
        parts = [
            f"replayed {counted(self.events, 'event')} of {counted(self.jobs, 'job')} into"
            f" {self.projection}"
            f" in {self.seconds:.1f} s ({rate:,.0f} a second)",
            *self._exceptions(),
        ]
        if self.kept:
            kept = counted(self.kept, "replaced state")
            parts.append(f"{kept} kept until: jobtrail replay {self.projection} --drop-old")
        return "; ".join(parts)

    def _exceptions(self) -> list[str]:
        counts = (
            (self.changed, "row", "rows", "changed"),
            (self.left_expired, "job", "jobs", "left expired"),
            (self.skipped, "entry", "entries", "skipped that cannot be applied"),
        )
        return [f"{counted(count, one, more)} {what}" for count, one, more, what in counts if count]


class DryRun(NamedTuple):
    """The events that a replay would read."""

    projection: str
    jobs: int
    history_events: int
    stream_events: int
    """Events that only the streams hold."""

    def facts(self) -> dict[str, Any]:
        """Return the figures by name."""
        return self._asdict()

    def __str__(self) -> str:
        """Return the figures as a sentence."""
        events = self.history_events + self.stream_events
        return (
            f"would read {counted(events, 'event')} ({self.history_events} in the history,"
            f" {self.stream_events} in the streams alone) of {counted(self.jobs, 'job')} and write"
            f" their {self.projection}; nothing was changed"
        )


class Dropped(NamedTuple):
    """The result of deleting the saved states that resets of a projection replaced."""

    projection: str
    dropped: int

    def facts(self) -> dict[str, Any]:
        """Return the figures by name."""
        return self._asdict()

    def __str__(self) -> str:
        """Return the figures as a sentence."""
        return f"dropped {counted(self.dropped, 'replaced state')} of {self.projection}"


class PutBack(NamedTuple):
    """The result of putting replaced rows back."""

    projection: str
    replaced_at: datetime
    """When the reset replaced them: a datetime in UTC."""
    restored: int
    left: int
    """Rows that were written since the reset, and were therefore not put back."""

    def facts(self) -> dict[str, Any]:
        """Return the figures by name."""
        return self._asdict()

    def __str__(self) -> str:
        """Return the figures as a sentence."""
        rows, when = counted(self.restored, "row"), f"{self.replaced_at:%F %T} UTC"
        text = f"put back {rows} that the reset of {when} replaced"
        return f"{text}; {self.left} were written since, and were left" if self.left else text

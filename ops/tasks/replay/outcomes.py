"""Results of `replay`: `facts()` for JSON, `str()` for a line of text."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple


class ReplayOutcome(NamedTuple):
    """The result of a replay or a reset."""

    projection: str
    events: int
    jobs: int
    kept: int
    """Replaced states that were kept."""
    skipped: int
    """Entries that cannot be applied."""
    seconds: float
    unknown: bool
    """True where the tenant of the command has no events."""
    left_expired: int | None = None
    """Jobs whose documents had expired; None where the projection has none."""
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
            f"replayed {self.events} events of {self.jobs} jobs into {self.projection}"
            f" in {self.seconds:.1f} s ({rate:,.0f} a second)",
            *self._exceptions(),
        ]
        if self.kept:
            parts.append(
                f"{self.kept} replaced states kept until: jobtrail replay {self.projection}"
                " --drop-old"
            )
        return "; ".join(parts)

    def _exceptions(self) -> list[str]:
        counts = (
            (self.changed, "rows changed"),
            (self.left_expired, "jobs left expired"),
            (self.skipped, "entries skipped that cannot be applied"),
        )
        return [f"{count} {text}" for count, text in counts if count]


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
            f"would read {events} events ({self.history_events} in the history,"
            f" {self.stream_events} in the streams alone) of {self.jobs} jobs and write their"
            f" {self.projection}; nothing was changed"
        )


class Dropped(NamedTuple):
    """The result of deleting the kept states of a projection."""

    projection: str
    dropped: int

    def facts(self) -> dict[str, Any]:
        """Return the figures by name."""
        return self._asdict()

    def __str__(self) -> str:
        """Return the figures as a sentence."""
        return f"dropped {self.dropped} replaced states of {self.projection}"


class PutBack(NamedTuple):
    """The result of putting replaced rows back."""

    projection: str
    replaced_at: datetime
    """When the reset replaced them: a datetime in UTC."""
    restored: int
    left: int
    """Rows that were written since the reset, and stay as they are."""

    def facts(self) -> dict[str, Any]:
        """Return the figures by name."""
        return self._asdict()

    def __str__(self) -> str:
        """Return the figures as a sentence."""
        text = (
            f"put back {self.restored} rows that the reset of {self.replaced_at:%F %T} UTC replaced"
        )
        return f"{text}; {self.left} were written since, and were left" if self.left else text

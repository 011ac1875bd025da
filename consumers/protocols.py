"""Protocols: what a consumer is given, without knowing which projection or chore it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from projections.decoding import Entry


class Stop(Protocol):
    """What tells a consumer to stop; a threading.Event is one."""

    def is_set(self) -> bool:
        """Whether to stop after the batch in hand."""
        ...

    def wait(self, timeout: float) -> bool:
        """Wait for so many seconds at most, and say whether to stop."""
        ...


class Projection(Protocol):
    """What a group derives from the log."""

    def apply(self, entries: Sequence[Entry]) -> None:
        """Store the effect of the entries; doing it again changes nothing."""
        ...


class Chore(Protocol):
    """Work that one consumer at a time does for all, between batches."""

    def due(self) -> bool:
        """Whether it is time."""
        ...

    def run(self) -> None:
        """Do it once, where this consumer is the elected one."""
        ...

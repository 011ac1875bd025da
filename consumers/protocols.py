"""Protocols: what a consumer is given, without knowing which projection or chore it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from projections.decoding import Entry


class Stop(Protocol):
    """A signal for a consumer to stop, such as a threading.Event."""

    def is_set(self) -> bool:
        """Return whether the consumer is to stop after the current batch."""
        ...

    def wait(self, timeout: float) -> bool:
        """Wait for so many seconds at most, and say whether to stop."""
        ...


class Projection(Protocol):
    """The data that a group derives from the streams."""

    def apply(self, entries: Sequence[Entry]) -> None:
        """Store the effect of the entries; doing it again changes nothing."""
        ...


class Chore(Protocol):
    """Work that one consumer at a time does for all, between batches."""

    def due(self) -> bool:
        """Return whether the chore is due."""
        ...

    def run(self) -> None:
        """Do it once, where this consumer is the elected one."""
        ...

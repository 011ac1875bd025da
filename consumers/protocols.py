"""The interfaces that the loop requires: the projection, the chores and the stop signal.

`consumers.composition` passes the objects in; the loop imports no projection and no chore except
the sweep. Used by `consumers.chores.activity`, `consumers.composition`, `consumers.loop` and
`consumers.tracing`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from projections.decoding import Entry


class Stop(Protocol):
    """A signal for a consumer to stop, such as a threading.Event."""

    def is_set(self) -> bool:
        """Return whether the consumer must stop after the current batch."""
        ...

    def wait(self, timeout: float) -> bool:
        """Wait for so many seconds at most, and return whether the consumer must stop."""
        ...


class Projection(Protocol):
    """The writer of the data that a group derives from the streams."""

    def apply(self, entries: Sequence[Entry]) -> None:
        """Store the effect of the entries; applying them again changes nothing.

        Raises:
            streams.cluster.PartlyStored: those of some tenants were not stored.
        """
        ...


@runtime_checkable
class LooksAhead(Protocol):
    """A projection whose writer can run a callable while it waits for its server."""

    meanwhile: Callable[[], None]
    """Called at most once in each `apply`; if it raises, the batch is not stored."""


@runtime_checkable
class WaitsLong(Protocol):
    """A projection whose writer can wait for its server for longer than the reclaim time."""

    while_waiting: Callable[[], None]
    """Called every second or more often during such a wait. It does not raise."""


class Chore(Protocol):
    """Periodic work of a consumer; `PeriodicChore` is the base class of all chores."""

    @property
    def name(self) -> str:
        """The chore's name in metrics and log lines."""
        ...

    def due(self) -> bool:
        """Return whether the next run is due."""
        ...

    def run(self) -> None:
        """Do the work once, unless another consumer is elected for it."""
        ...

    def leave(self) -> None:
        """Let another consumer be elected, because this one ends."""
        ...


@runtime_checkable
class DoneWhileWaiting(Protocol):
    """A chore that is also done while the consumer waits for a server, between two turns."""

    def while_waiting(self, server: str | None, tenants: Sequence[str]) -> None:
        """Do it if it is due.

        Args:
            server: the one that is unavailable; None if it is only slow.
            tenants: some of those with entries in the batch that is not settled.

        Raises:
            redis.RedisError: Redis is unavailable or refuses the command.
        """
        ...

"""The definition of a projection: its entry in the registry, and the arguments of its callables.

A package that adds a projection imports the names in `__all__`:

    events -> writer -> the data that the projection serves     (`jobtrail consume`)
    Replay -> repair, reset -> steps                            (`jobtrail replay`)
    Replay -> verify -> differences                             (`jobtrail verify`)

Used by `consumers.composition`, `ops.tasks.replay`, `projections.registry.lookup`,
`projections.registry.rows` and `projections.registry.status`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import psycopg
import redis

from projections.decoding import Entry
from projections.replay.comparison import Comparison
from projections.replay.events.parts import Part
from projections.replay.events.sources import Sources
from projections.replay.repair import repair
from projections.replay.replaced_states import Restored
from projections.replay.served.facts import Difference
from projections.replay.served.projection import ServedProjection
from projections.replay.step import ReplayStep
from projections.replay.verify import Settled, Verifier
from sql.sessions import Session
from streams.entry_ids import EntryId
from streams.keys import JobKey
from streams.settings import Settings

__all__ = [
    "Checked",
    "Difference",
    "Entry",
    "EntryWriter",
    "JobKey",
    "RegisteredProjection",
    "Replay",
    "ReplayStep",
    "Settings",
]


class EntryWriter(Protocol):
    """Writer of a projection."""

    def apply(self, entries: Sequence[Entry]) -> None:
        """Store the effect of the entries; applying them again, in any order, changes nothing.

        An exception undoes nothing by itself: consumers apply the batch again after an outage
        (`redis.RedisError`, `psycopg.Error`), and move entries that can never be applied to the
        dead letters.
        """
        ...


class Checked(NamedTuple):
    """The number of jobs that `verify` compared; several are added up."""

    jobs: int


class Replay(NamedTuple):
    """Connections and events for `repair`, `reset` and `verify`."""

    settings: Settings
    client: redis.Redis
    sources: Sources
    """The events of the tenants of the command; the streams have been read already."""
    connect: Callable[[], Session]
    """Opens another connection to PostgreSQL in autocommit mode, which the caller closes."""
    settled: Settled
    """Returns the entry ids up to which the projection's group has settled streams."""
    horizon: EntryId | None = None
    """The entry id from which on the history is complete; None if none of it was dropped."""
    on_wait: Callable[[], None] = lambda: None
    """Called when other sessions hold rows that a reset replaces."""
    on_progress: Callable[[int], None] = lambda _events: None
    """Called by `verify` with the number of events that it has compared since the last call."""

    def entries(self) -> Iterator[Entry]:
        """Yield every event, job by job, from the history and the streams."""
        for part in self.sources.walk():
            yield from part.held
            yield from part.tail

    def apply_all(self, writer: EntryWriter, after: JobKey | None = None) -> Iterator[ReplayStep]:
        """Apply every event through a writer, job by job after the given one.

        Raises:
            Exception: whatever the writer raises.
        """
        return repair(self.sources, _PartsAsEntries(writer), after)

    def comparison(self, served: ServedProjection) -> Comparison:
        """Return the comparison of a projection with the fold of the events."""
        return Comparison(self.sources, served, self.horizon)

    def verify_fold(self, served: ServedProjection) -> Iterator[Difference | Checked]:
        """Compare each job of a projection with the fold of its events.

        Raises:
            redis.RedisError, psycopg.Error: a server is away; begin again.
        """
        verifier = Verifier(
            self.sources,
            served,
            self.settled,
            horizon=self.horizon,
            on_progress=self.on_progress,
        )
        yield from verifier.run()
        yield Checked(verifier.verified)


@dataclass(frozen=True, kw_only=True)
class RegisteredProjection:
    """Entry of one projection in the registry."""

    group: str
    """The consumer group, and the name of the projection in commands and of its entry point."""
    serves: str
    """The data that readers get from it, in a few words."""
    writer: Callable[[redis.Redis, Settings], EntryWriter]
    """Returns a writer for one process. The connection is shared with the consumer's own commands;
    a writer for PostgreSQL opens its own."""
    needs_database: bool = False
    """True if the writer needs PostgreSQL; its URL is then checked at the start."""
    batch_entries: int | None = None
    """The most entries in one batch; None for the default of consumers."""
    repair: Callable[[Replay, JobKey | None], Iterator[ReplayStep]] | None = None
    """Adds what is missing, job by job after the second argument; None to apply every event."""
    reset: Callable[[Replay, JobKey | None], Iterator[ReplayStep]] | None = None
    """Replaces what differs from the events, in the same way; None if `--reset` is not
    supported."""
    verify: Callable[[Replay], Iterator[Difference | Checked]] | None = None
    """Yields differences from the events, and the numbers of jobs that were compared; None if
    `verify` is not supported."""
    restore: (
        Callable[[psycopg.Connection, str | None, Callable[[], None]], Restored | None] | None
    ) = None
    """Restores what the last reset replaced, of one tenant or of all; None if `--restore-old` is
    not supported."""
    parallel: bool = False
    """True if repair and verify may run in several processes, each for a share of the tenants
    (`Replay.sources.share`)."""
    parallel_reset: bool = False
    """True if the reset may run so, too."""

    def steps(self, replay: Replay, after: JobKey | None, *, reset: bool) -> Iterator[ReplayStep]:
        """Replay the events, job by job after the given one; yield each step once it is stored.

        Raises:
            ValueError: the projection has no reset.
        """
        if not reset:
            if self.repair is not None:
                return self.repair(replay, after)
            return replay.apply_all(self.writer(replay.client, replay.settings), after)
        if self.reset is None:
            raise ValueError(f"the projection {self.group} has no reset")
        return self.reset(replay, after)


class _PartsAsEntries:
    """The parts of a replay, written through a writer of entries."""

    def __init__(self, writer: EntryWriter) -> None:
        self._writer = writer

    def apply(self, parts: Sequence[Part]) -> int:
        self._writer.apply([entry for part in parts for entry in (*part.held, *part.tail)])
        return 0

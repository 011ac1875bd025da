"""Activity: the entries that each group applied recently, by tenant.

Each consumer counts what it applies in a `Tally`, and its heartbeat adds the counts to a sorted set
in Redis. There they decay over five minutes, as a load average does, so that idle tenants disappear
by themselves. The elected consumer's samples apply the decay; the console shows the figures. Used
by `consumers.composition`, `consumers.chores.heartbeat`, `consumers.chores.samples` and
`ops.operator_view`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from math import exp
from operator import itemgetter

from consumers.protocols import Projection
from projections.decoding import Entry
from streams.cluster import PartlyStored
from streams.keys import Keys
from streams.wire import Command

DECAY_SECONDS, DECAY_MINUTES = 60.0, 5
"""The interval of the decay, and the number of intervals in which activity falls to 1/e."""
DECAY = exp(-1 / DECAY_MINUTES)
"""The part of the activity that is left after each interval."""
LOWEST = 0.2
"""Activity below this is removed: the last entry was about ten minutes ago."""


class Tally:
    """The number of entries that one consumer applied."""

    def __init__(self) -> None:
        self.total = 0
        self.reported = 0
        """The total at the last heartbeat."""
        self.tenants: Counter[str] = Counter()
        """Entries by tenant, since the last heartbeat."""

    def add(self, entries: Sequence[Entry]) -> None:
        """Count a batch."""
        self.total += len(entries)
        self.tenants.update(map(_TENANT, entries))

    def mark_reported(self) -> None:
        """Start the counts anew after a heartbeat."""
        self.reported = self.total
        self.tenants.clear()


_TENANT: Callable[[Entry], str] = itemgetter(0)


class Counted:
    """A projection whose batches are counted after they are applied."""

    def __init__(self, projection: Projection, tally: Tally) -> None:
        self._projection = projection
        self._tally = tally

    def apply(self, entries: Sequence[Entry]) -> None:
        """Apply and count a batch; one that has to be applied again counts again."""
        try:
            self._projection.apply(entries)
        except PartlyStored as error:
            self._tally.add([each for each in entries if each.tenant not in error.failed])
            raise
        self._tally.add(entries)


def decay_commands(groups: Sequence[str], keys: Keys) -> Iterator[Command]:
    """Build the commands that apply one interval's decay to the activity of these groups."""
    for name in map(keys.activity, groups):
        yield "ZUNIONSTORE", name, 1, name, "WEIGHTS", DECAY
        yield "ZREMRANGEBYSCORE", name, "-inf", f"({LOWEST}"


def per_minute(activity: float) -> float:
    """Return the entries per minute that keep a tenant's activity at this value."""
    return activity * (1 - DECAY)

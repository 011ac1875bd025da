"""Activity: what each group applied of late, tenant by tenant.

It fades over five minutes, as a load average does: a tenant that rests drops out by itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from math import exp
from operator import itemgetter

from consumers.protocols import Projection
from projections.decoding import Entry
from streams.keys import Keys
from streams.wire import Command

FADE_SECONDS, FADE_MINUTES = 60.0, 5
FADE = exp(-1 / FADE_MINUTES)
"""What is left of the activity after each minute."""
FORGOTTEN = 0.2
"""Activity under this is none: the last entry was some ten minutes ago."""


class Tally:
    """What one consumer applied."""

    def __init__(self) -> None:
        self.total = 0
        self.reported = 0
        """How much of it the last heartbeat told."""
        self.tenants: Counter[str] = Counter()
        """By tenant, since that heartbeat."""

    def add(self, entries: Sequence[Entry]) -> None:
        """Count a batch."""
        self.total += len(entries)
        self.tenants.update(map(_TENANT, entries))

    def told(self) -> None:
        """Begin anew after a heartbeat."""
        self.reported = self.total
        self.tenants.clear()


_TENANT: Callable[[Entry], str] = itemgetter(0)


class Counted:
    """A projection whose batches are counted once they are applied."""

    def __init__(self, projection: Projection, tally: Tally) -> None:
        self._projection = projection
        self._tally = tally

    def apply(self, entries: Sequence[Entry]) -> None:
        """Apply and count; a batch that has to be applied again counts again."""
        self._projection.apply(entries)
        self._tally.add(entries)


def fading(groups: Sequence[str], keys: Keys) -> Iterator[Command]:
    """Build the commands that let a minute's worth of these groups' activity fade."""
    for name in map(keys.activity, groups):
        yield "ZUNIONSTORE", name, 1, name, "WEIGHTS", FADE
        yield "ZREMRANGEBYSCORE", name, "-inf", f"({FORGOTTEN}"


def per_minute(activity: float) -> float:
    """Give the entries a minute that a tenant's activity stands for."""
    return activity * (1 - FADE)

"""Trials: finding the entry that ends the consumer process that applies it.

A consumer that dies leaves its whole batch pending, most of it harmless entries. An entry that was
delivered more than `SHARED_DELIVERIES` times is a *suspect* and is applied alone. A *trial* is
recorded before that and removed once the process has survived it: the effect is stored, or an
exception was raised, for example in an outage. It is also removed if a consumer that must stop
still waits for a server, because the process may then end before the server answers. If removing it
fails, that is repeated with the next batch. So a trial that is still recorded when the entry is
taken over means that its process died, with few exceptions (Redis was lost as well). After
`MAX_TRIALS` such trials the entry becomes a dead letter. Deliveries in shared batches only lead to
trials; they never make a dead letter.

The server's delivery counter contains both figures, so that no other key must be kept consistent
with it: a delivery counts one, and a recorded trial counts `TRIAL_STEP`. Used by
`consumers.dead_letters.writer` and `consumers.loop.settling`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import redis
import structlog

from consumers.delivery.deliveries import Delivery
from consumers.delivery.groups import ConsumerGroup
from consumers.faults import is_of_key
from streams.runtime.safe_text import one_line

_LOG = structlog.get_logger(__name__)

SHARED_DELIVERIES = 5
"""The number of deliveries up to which an entry is applied together with others."""
MAX_TRIALS = 3
"""The number of deaths in trials after which an entry becomes a dead letter."""
TRIAL_STEP = 1_000_000
"""The amount by which a recorded trial raises the delivery counter."""


class Suspect(NamedTuple):
    """A delivery that must be applied alone."""

    delivery: Delivery
    counter: int
    """The server's delivery counter, without a trial of this process."""

    @property
    def trials(self) -> int:
        """The number of trials in which a consumer died."""
        return self.counter // TRIAL_STEP

    @property
    def deliveries(self) -> int:
        """The number of deliveries."""
        return self.counter % TRIAL_STEP


class Trials:
    """The trials of one consumer."""

    def __init__(self, group: ConsumerGroup) -> None:
        self._group = group
        self.running: Suspect | None = None
        """The suspect whose trial is recorded."""
        self._remaining: dict[tuple[str, bytes], Suspect] = {}
        """Suspects whose trials have ended, but may still be recorded."""

    def suspects(self, tenant: str, deliveries: Sequence[Delivery]) -> list[Suspect]:
        """Return the suspects among a tenant's deliveries, those with the fewest trials first.

        In that order an entry that ends the process delays each other suspect at most once.

        Raises:
            redis.ConnectionError, redis.TimeoutError: Redis is unavailable.
        """
        counters = self._group.delivery_counters(tenant, deliveries)
        found = [
            Suspect(delivery, counter)
            for delivery, counter in zip(deliveries, counters, strict=True)
            # None: it was settled meanwhile, or the group was lost.
            if counter is not None and counter > SHARED_DELIVERIES
        ]
        return sorted(found, key=lambda suspect: suspect.trials)

    def begin(self, suspect: Suspect) -> None:
        """Record a trial; it is counted once, however often it is recorded.

        Raises:
            redis.RedisError: Redis is unavailable or refuses the command.
        """
        self.running = suspect
        self._group.set_delivery_counter(suspect.delivery, suspect.counter + TRIAL_STEP)

    def end(self, suspect: Suspect) -> None:
        """Remove the recorded trial: the process has survived it.

        An error is only logged; `end_remaining` tries again.
        """
        self.running = None
        which = (suspect.delivery.tenant, suspect.delivery.id)
        self._remaining.pop(which, None)
        try:
            self._group.set_delivery_counter(suspect.delivery, suspect.counter)
        except redis.RedisError as error:
            self._remaining[which] = suspect
            _LOG.warning("trial_not_ended", group=self._group.group, error=one_line(error))

    def end_remaining(self) -> None:
        """Remove the trials that could not be removed, of entries that this consumer still has."""
        for which, suspect in [*self._remaining.items()]:
            try:
                if self._group.has_pending(suspect.delivery):
                    self._group.set_delivery_counter(suspect.delivery, suspect.counter)
            except redis.RedisError as error:
                if not is_of_key(error):  # otherwise the group is gone, with its counters
                    continue  # logged before; tried again with the next batch
            del self._remaining[which]

    @contextmanager
    def recorded(self, suspect: Suspect | None) -> Iterator[None]:
        """Record a trial for the duration of the block; None stands for no trial."""
        if suspect is None:
            yield
            return
        try:
            self.begin(suspect)  # if its reply is lost, it may be recorded
            yield
        except Exception:
            self.end(suspect)
            raise
        self.end(suspect)

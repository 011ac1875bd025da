"""Trials: finding the entry that kills its consumer.

A consumer that dies leaves its whole batch pending, the guilty entry among many innocent ones. What
was delivered too often is a *suspect*, and is tried alone. A *trial* is begun before the entry is
applied and ended by whatever its consumer lives to see: its effect is stored, a refusal, an outage.
So a trial that still stands when the entry is taken over is one that nobody survived. Deliveries
alone, of batches in hand or ahead, convict nobody: they only lead to trials. Nor does a death
between the end of a trial and the acknowledgement.

The server's own counter of deliveries keeps both figures, so that nothing else must be kept in step
with it: each delivery counts one, each trial that stands a million (`TRIAL`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import redis

from consumers.delivery.groups import Delivery
from streams.keys import Keys
from streams.wire import ask, round_trip

CROWD = 5
"""Deliveries up to which an entry is applied together with others."""
TRIALS = 3
"""Trials that nobody survived after which an entry is given up."""
TRIAL = 1_000_000


class Suspect(NamedTuple):
    """A delivery to be tried alone."""

    delivery: Delivery
    counter: int
    """The server's counter: deliveries, and a million a trial."""

    @property
    def trials(self) -> int:
        """How many trials nobody survived."""
        return self.counter // TRIAL

    @property
    def deliveries(self) -> int:
        """How often it was delivered."""
        return self.counter % TRIAL


class Trials:
    """Trials held by one consumer."""

    def __init__(self, client: redis.Redis, group: str, consumer: str, keys: Keys) -> None:
        self._client = client
        self._group = group
        self._consumer = consumer
        self._keys = keys

    def suspects(self, tenant: str, deliveries: Sequence[Delivery]) -> list[Suspect]:
        """Give those of a tenant's deliveries that were delivered too often, least tried first.

        So one that kills delays no innocent one more than once.
        """
        stream = self._keys.stream(tenant)
        replies = round_trip(
            self._client,
            [("XPENDING", stream, self._group, each.id, each.id, 1) for each in deliveries],
        )
        found = [
            Suspect(delivery, reply[0][3])
            for delivery, reply in zip(deliveries, replies, strict=True)
            # Settled by somebody else meanwhile, or the group was lost: no reason to suspect it.
            if reply and not isinstance(reply, redis.ResponseError)
        ]
        return sorted(
            (suspect for suspect in found if suspect.counter > CROWD), key=lambda each: each.trials
        )

    def begin(self, suspect: Suspect) -> None:
        """Say that the suspect is about to be applied; saying it again counts no second trial."""
        self._count(suspect.delivery, suspect.counter + TRIAL)

    def end(self, suspect: Suspect) -> None:
        """Say that the trial was survived."""
        self._count(suspect.delivery, suspect.counter)

    def _count(self, delivery: Delivery, count: int) -> None:
        stream = self._keys.stream(delivery.tenant)
        who = ("XCLAIM", stream, self._group, self._consumer, 0, delivery.id)
        ask(self._client, *who, "RETRYCOUNT", count, "JUSTID")

"""Tenants whose node of a cluster is lost, so that the loss delays no tenant of another node.

What concerns a lost node is set aside: reads whose reply was lost, effects that could not be
stored, and acknowledgements. All of it stays pending for this consumer, so that nothing but the
tenants' names is kept here. After a pause they are tried again: the consumer reads what is pending
for it and settles that, until a replica was promoted or the node is back. No attempt is charged to
an entry. A slot that moves the old way, and a node that refuses writes, are treated alike. Used by
`consumers.delivery.groups`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable

import structlog

from consumers import metrics
from consumers.faults import is_outage, server_of
from streams.runtime.safe_text import one_line

_LOG = structlog.get_logger(__name__)

FIRST_PAUSE, LAST_PAUSE = 0.1, 1.0
"""The shortest and the longest pause in seconds; each pause is twice the one before."""


class TenantsAside:
    """The tenants that one consumer has set aside.

    Args:
        group: the consumer's group, for metrics and log lines.
        enabled: False on a single server, whose outage concerns all tenants.
        clock: returns monotonic seconds.
    """

    def __init__(
        self, group: str, *, enabled: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._group = group
        self._enabled = enabled
        self._clock = clock
        self._tenants: set[str] = set()
        self._pause = FIRST_PAUSE
        self._until = math.inf

    def add(self, tenants: Iterable[str], error: BaseException) -> bool:
        """Set tenants aside because of an outage of their node; return whether they were.

        They are not on a single server, and not for an error that is no outage.
        """
        if not self.covers(error):
            return False
        self._tenants.update(tenants)
        if self._until == math.inf:
            self._until = self._clock() + self._pause
            metrics.OUTAGES.labels(self._group, server_of(error)).inc()
            _LOG.warning(
                "tenants_set_aside",
                group=self._group,
                error=one_line(error),
                seconds=self._pause,
            )
            self._pause = min(2 * self._pause, LAST_PAUSE)
        return True

    def covers(self, error: BaseException) -> bool:
        """Return whether an error concerns one node of a cluster, and may pass."""
        return self._enabled and server_of(error) == "redis" and is_outage(error)

    def take_due(self) -> list[str]:
        """Remove and return the tenants if their pause is over."""
        if self._clock() < self._until:
            return []
        found, self._tenants, self._until = sorted(self._tenants), set(), math.inf
        return found

    def end_try(self) -> None:
        """Begin with the shortest pause next time, if no tenant was set aside again."""
        if self._until == math.inf:
            self._pause = FIRST_PAUSE

    def seconds_left(self) -> float:
        """Return the seconds until tenants must be tried again; infinite if there are none."""
        return max(0.0, self._until - self._clock())

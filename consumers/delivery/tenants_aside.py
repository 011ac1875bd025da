"""Setting tenants aside while their node of a cluster is lost, so that no other tenant is delayed.

If a node is lost, the entries of its tenants stay pending for this consumer, and only the tenants'
names are kept here. After a pause, the consumer reads and settles what is pending for them, and
repeats this until a replica was promoted or the node is back. Such tries do not count as trials
(`consumers.dead_letters.trials`). They do raise the server's delivery counters, so that a consumer
that takes such entries over applies them one by one. A slot that is being migrated key by key
(TRYAGAIN), and a node that refuses writes, are treated alike. Used by `consumers.delivery.groups`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence

import structlog

from consumers import metrics
from consumers.faults import is_outage, server_of
from streams.runtime.safe_text import one_line

_LOG = structlog.get_logger(__name__)

FIRST_PAUSE, LAST_PAUSE = 0.1, 1.0
"""The shortest and the longest pause in seconds; each pause is twice the one before."""
LOG_SECONDS = 60.0
"""The shortest time between two log lines about the same error."""
MOST_LOGGED = 100
"""The largest number of errors whose last line is remembered."""


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
        self._logged: dict[str, float] = {}
        """By error, the time from which it is logged again."""

    def add(self, tenants: Iterable[str], error: BaseException) -> bool:
        """Set tenants aside if the error is an outage of their node.

        Return False, and change nothing, for another error and on a single server.
        """
        if not self.covers(error):
            return False
        names = list(tenants)
        self._tenants.update(names)
        self._log(names, error)
        if self._until == math.inf:
            self._until = self._clock() + self._pause
            metrics.OUTAGES.labels(self._group, server_of(error)).inc()
            self._pause = min(2 * self._pause, LAST_PAUSE)
        return True

    def _log(self, tenants: Sequence[str], error: BaseException) -> None:
        """Log each error, at most once a minute."""
        now, text = self._clock(), one_line(error)
        if now < self._logged.get(text, now):
            return
        if len(self._logged) >= MOST_LOGGED:
            self._logged.clear()
        self._logged[text] = now + LOG_SECONDS
        _LOG.warning(
            "tenants_set_aside",
            group=self._group,
            error=text,
            tenants=len(tenants),
            tenant=tenants[0] if tenants else None,
        )

    def covers(self, error: BaseException) -> bool:
        """Return whether an error counts as the outage of a node.

        On a cluster, that is each error of Redis that a later try may not meet.
        """
        return self._enabled and server_of(error) == "redis" and is_outage(error)

    def take_due(self) -> list[str]:
        """Remove and return the tenants if their pause is over."""
        if self._clock() < self._until:
            return []
        found, self._tenants, self._until = sorted(self._tenants), set(), math.inf
        return found

    def end_try(self) -> None:
        """Reset the pause to the shortest one, unless a tenant was set aside during the try."""
        if self._until == math.inf:
            self._pause = FIRST_PAUSE

    def seconds_left(self) -> float:
        """Return the seconds until tenants must be tried again; infinite if there are none."""
        return max(0.0, self._until - self._clock())

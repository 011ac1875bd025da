"""Tenants set aside: what stands at one tenant's keys delays nobody else.

Any key of a tenant may hold something that is not ours: another type, a stream whose ids are used
up. The server then refuses commands about this tenant alone. Such a refusal is neither an outage
(waiting for the server does not help) nor the fault of an entry: the tenant is *set aside* for a
while, for the kind of work that was refused, and everything else goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from consumers import metrics

_LOG = structlog.get_logger(__name__)

READING, BURYING = "reading", "burying"
"""Kinds of work that can be refused."""
PAUSE_SECONDS = 5.0
"""The time for which refused work is not tried again."""
LOG_SECONDS = 60.0
"""The shortest time between two log lines about the same refusal."""


class SetAside:
    """The tenants that one consumer has set aside, each for one kind of work."""

    def __init__(self, group: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._group = group
        self._clock = clock
        self._until: dict[tuple[str, str], float] = {}
        self._logged: dict[tuple[str, str], float] = {}

    def add(self, tenant: str, work: str, error: Exception) -> None:
        """Set a tenant aside for this kind of work, count it, and log it from time to time."""
        now, which = self._clock(), (tenant, work)
        self._forget(now)
        self._until[which] = now + PAUSE_SECONDS
        metrics.SET_ASIDE.labels(self._group, work).inc()
        if now >= self._logged.get(which, now):
            self._logged[which] = now + LOG_SECONDS
            _LOG.error(
                "tenant_set_aside",
                group=self._group,
                tenant=tenant,
                work=work,
                error=" ".join(str(error).split()),
                advice="see what stands at this tenant's keys: jobtrail doctor",
            )

    def holds(self, tenant: str, work: str) -> bool:
        """Return whether this work of the tenant must not be tried yet."""
        return bool(self._until) and self._clock() < self._until.get((tenant, work), 0.0)

    def _forget(self, now: float) -> None:
        for times in (self._until, self._logged):
            for which in [which for which, until in times.items() if until + LOG_SECONDS < now]:
                del times[which]

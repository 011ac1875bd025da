"""Tenants whose keys the server refuses, so that one tenant's odd key delays no other tenant.

Any key of a tenant may hold something unexpected: a value of another type, or a stream whose ids
are exhausted. The server then refuses only commands on this tenant's keys. Waiting for the server
does not help, and no entry is at fault. The consumer therefore pauses the refused kind of work for
this tenant and continues with all others. Used by `consumers.delivery.groups`, and through it by
`consumers.loop`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from consumers import metrics
from streams.runtime.safe_text import one_line

_LOG = structlog.get_logger(__name__)

READING, DEAD_LETTERING = "reading", "dead_lettering"
"""The kinds of work that can be refused."""
PAUSE_SECONDS = 5.0
"""The time for which refused work is not tried again."""
LOG_SECONDS = 60.0
"""The shortest time between two log lines about the same refusal."""


class RefusedTenants:
    """The tenants for which one consumer pauses one kind of work.

    Args:
        group: the consumer's group, for metrics and log lines.
        clock: returns monotonic seconds.
    """

    def __init__(self, group: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._group = group
        self._clock = clock
        self._until: dict[tuple[str, str], float] = {}
        self._logged: dict[tuple[str, str], float] = {}

    def add(self, tenant: str, work: str, error: Exception) -> None:
        """Pause this kind of work for a tenant, count it, and log it at most once a minute."""
        now, which = self._clock(), (tenant, work)
        self._forget(now)
        self._until[which] = now + PAUSE_SECONDS
        metrics.REFUSALS.labels(self._group, work).inc()
        if now >= self._logged.get(which, now):
            self._logged[which] = now + LOG_SECONDS
            _LOG.error(
                "tenant_refused",
                group=self._group,
                tenant=tenant,
                work=work,
                error=one_line(error),
                advice="check the values at this tenant's keys: jobtrail doctor",
            )

    def is_paused(self, tenant: str, work: str) -> bool:
        """Return whether this kind of work must not be tried for the tenant yet."""
        return bool(self._until) and self._clock() < self._until.get((tenant, work), 0.0)

    def _forget(self, now: float) -> None:
        for times in (self._until, self._logged):
            for which in [which for which, until in times.items() if until + LOG_SECONDS < now]:
                del times[which]

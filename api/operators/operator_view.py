"""The interface to delivery that the operators' endpoints need.

`api` must not import `consumers`, so the commands pass an implementation (`ops.operator_view`) to
`api.app.create_app`. All methods block on Redis; the endpoints call them in threads. Results are
plain JSON values. Used by `api.operators.routes`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from api.operators.letters.view import DeadLetterView, Facts


class OperatorView(Protocol):
    """A view of delivery. All methods raise redis.RedisError while Redis is unavailable."""

    @property
    def dead_letters(self) -> DeadLetterView:
        """The view of dead letters."""
        ...

    def samples(self) -> Facts:
        """Return the samples of the last hour as columns, and the number of dead letters."""
        ...

    def day_samples(self) -> Facts:
        """Return the samples of the last day as columns, without the number of dead letters."""
        ...

    def consumers(self) -> Sequence[Facts]:
        """Return the last heartbeat of each consumer, and whether it is alive."""
        ...

    def health(self) -> Facts:
        """Return the Redis server's description, whether it refuses writes, and its memory."""
        ...

    def publish_backlog(self, seconds: float) -> None:
        """Measure the backlog of each group, and expose it in the metrics for so many seconds."""
        ...

    def busy_tenants(self, limit: int) -> Mapping[str, float]:
        """Return the entries a minute of the tenants with the most recent activity."""
        ...

    def late_tenants(self) -> Mapping[str, float]:
        """Return the age, in seconds, of the oldest entry of the tenants that are behind now."""
        ...

    def dead_tenants(self) -> Sequence[str]:
        """Return the tenants with dead letters."""
        ...

    def tenants(self, names: Sequence[str]) -> Sequence[Facts | None]:
        """Return the activity, lag, dead letters and stream of each of these tenants.

        It is None for a tenant of a lost node of a cluster.
        """
        ...

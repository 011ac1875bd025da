"""The interface to delivery that the operators' endpoints need.

Delivery is what consumers do: groups, lag, dead letters, samples of them. `api` must not import
`consumers`, so the command that serves the API passes an implementation (`ops.operator_view`) to
`api.server.serve`. All methods wait for Redis, so the endpoints call them in threads. All values
are JSON values. Used by `api.app`, `api.server` and modules of `api.operators`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from api.operators.letters.view import DeadLetterView, Facts


class OperatorView(Protocol):
    """A view of delivery. Its methods raise redis.RedisError while Redis is unavailable."""

    @property
    def dead_letters(self) -> DeadLetterView:
        """The view of dead letters."""
        ...

    def samples(self) -> Facts:
        """Return the samples of the last hour by columns, and the present number of dead letters.

        A column is a list with one value for each sample.
        """
        ...

    def day_samples(self) -> Facts:
        """Return the samples of the last day by columns, one a minute, without that number."""
        ...

    def consumers(self) -> Sequence[Facts]:
        """Return the last heartbeat of each recent consumer, and whether it is alive."""
        ...

    def health(self) -> Facts:
        """Return the Redis server's description, whether it refuses writes, and its memory."""
        ...

    def publish_backlog(self, seconds: float) -> None:
        """Measure the unsettled entries of each group; `/metrics` has them for so many seconds."""
        ...

    def busy_tenants(self, limit: int) -> Mapping[str, float]:
        """Return the `limit` tenants with the most entries a minute lately, with that number."""
        ...

    def late_tenants(self) -> Mapping[str, float]:
        """Return tenants that are behind, with the age in seconds of the oldest unsettled entry.

        They are those of the last sample that are still behind.
        """
        ...

    def dead_tenants(self) -> Sequence[str]:
        """Return the tenants with dead letters."""
        ...

    def tenants(self, names: Sequence[str]) -> Sequence[Facts | None]:
        """Return the activity, lag, dead letters and stream of each of these tenants, in order.

        There is one result for each name, also of a tenant that does not exist. It is None for a
        tenant of a lost node of a cluster.
        """
        ...

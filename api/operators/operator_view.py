"""The interface to delivery that the operators' endpoints need.

Delivery is what consumers do: groups, lag, dead letters, samples of them. `api` must not import
`consumers`, so the command that serves the API passes an implementation (`ops.operator_view`) to
`api.server.serve`. All methods wait for Redis, so the endpoints call them in threads. All values
are JSON values. Used by `api.app`, `api.server` and modules of `api.operators`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from api.operators.letters.view import DeadLetterView, Facts


class LateTenants(NamedTuple):
    """The tenants that are behind."""

    oldest: Mapping[str, int]
    """The time of the oldest unsettled entry of the tenants that are furthest behind, in
    milliseconds since 1970."""
    more: int
    """The number of other tenants that were behind when they were last examined."""


class OperatorView(Protocol):
    """A view of delivery. Its methods raise redis.RedisError while Redis is unavailable."""

    @property
    def dead_letters(self) -> DeadLetterView:
        """The view of dead letters."""
        ...

    def samples(self) -> Facts:
        """Return the samples of the last hour by columns, and the present number of dead letters.

        A column is a list with one value for each sample. `late` has the number of tenants that
        were behind at the last sample by group, and the one that is furthest behind.
        """
        ...

    def day_samples(self) -> Facts:
        """Return the samples of the last day by columns, one a minute, and nothing else.

        A sample has the highest values of its minute.
        """
        ...

    def issues(self) -> Sequence[Facts]:
        """Return what was wrong with delivery in the last day, the latest first.

        Each has a cause, a begin and an end in milliseconds (None if it goes on), its group, its
        worst value, the number of tenants, and the one that was concerned most.
        """
        ...

    def tenant_minutes(self) -> Sequence[Facts]:
        """Return the activity and the lag of the tenants that stood out, one a minute.

        They are those of the last hour, by tenant; a list that is full lacks other tenants.
        """
        ...

    def used_bytes(self) -> int:
        """Return the memory that Redis uses."""
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

    def late_tenants(self) -> LateTenants:
        """Return the tenants of the last sample that are still behind."""
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

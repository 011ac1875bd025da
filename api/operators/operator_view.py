"""The interface to delivery that the operators' endpoints need.

`api` must not import `consumers`, so the commands pass an implementation (`ops.operator_view`) to
`api.app.create_app`. All methods block on Redis; the endpoints call them in threads. Results are
plain JSON values. Used by `api.operators.routes`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

Facts = Mapping[str, Any]
"""A JSON object."""


class EntryNotKept(Exception):
    """A dead letter cannot be requeued: its entry was too large to be stored completely."""


class DeadLetterPage(NamedTuple):
    """A page of dead letters without their content, newest first."""

    items: Sequence[Facts]
    after: str | None
    """The id of the last item, if the tenant has more dead letters."""
    tenants: Sequence[Facts]
    """The tenants with dead letters and their numbers, those with the latest ones first."""


class OperatorView(Protocol):
    """A view of delivery. All methods raise redis.RedisError while Redis is unavailable."""

    def samples(self) -> Facts:
        """Return the samples of the last hour as columns, and the number of dead letters."""
        ...

    def consumers(self) -> Sequence[Facts]:
        """Return the last heartbeat of each consumer, and whether it is alive."""
        ...

    def health(self) -> str:
        """Return a short description of the Redis server."""
        ...

    def publish_backlog(self, seconds: float) -> None:
        """Measure the backlog of each group, and expose it in the metrics for so many seconds."""
        ...

    def tenants(self, order: str, limit: int) -> Sequence[Facts]:
        """Return the tenants with the most `activity` or the most `lag`, as `order` says."""
        ...

    def letters(self, tenant: str | None, before: str | None, limit: int) -> DeadLetterPage:
        """Return dead letters of a tenant, or the latest of all tenants.

        Raises:
            ValueError: `before` is not the id of a dead letter.
        """
        ...

    def letter(self, tenant: str, letter_id: str) -> Facts | None:
        """Return a dead letter with its content; None if it does not exist.

        Raises:
            ValueError: `letter_id` is not the id of a dead letter.
        """
        ...

    def requeue(self, tenant: str, letter_id: str) -> str | None:
        """Append a dead letter's entry again; return its new id, or None if the letter is gone.

        Raises:
            EntryNotKept: the letter has only a part of the entry.
            ValueError: `letter_id` is not the id of a dead letter.
        """
        ...

    def discard(self, tenant: str, letter_id: str) -> bool:
        """Delete a dead letter permanently; return whether it existed.

        Raises:
            ValueError: `letter_id` is not the id of a dead letter.
        """
        ...

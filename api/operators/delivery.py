"""What operators' endpoints need of delivery, which this layer does not know.

The composition root gives an implementation (`ops/operator_view.py`). Its methods block on Redis:
call them in a thread. What they give is plain JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

Facts = Mapping[str, Any]


class NotKept(Exception):
    """An entry was too large to be kept whole, so that it cannot be appended again."""


class Letters(NamedTuple):
    """Dead letters without their bytes, newest first."""

    items: Sequence[Facts]
    after: str | None
    """The id of the last one where there are more of the tenant's."""
    tenants: Sequence[Facts]
    """Who has dead letters, and how many: those with the latest ones first."""


class Desk(Protocol):
    """Each method raises redis.RedisError while Redis is away."""

    def samples(self) -> Facts:
        """Give the samples of the last hour, column by column, and the dead letters' number."""
        ...

    def consumers(self) -> Sequence[Facts]:
        """Give what each consumer last said of itself, and whether it is alive."""
        ...

    def health(self) -> str:
        """Describe the Redis server in a few words."""
        ...

    def tenants(self, order: str, limit: int) -> Sequence[Facts]:
        """Give the tenants that are the busiest (`activity`) or furthest behind (`lag`)."""
        ...

    def letters(self, tenant: str | None, before: str | None, limit: int) -> Letters:
        """Give dead letters of a tenant, or the latest of all.

        Raises:
            ValueError: `before` is no letter's id.
        """
        ...

    def letter(self, tenant: str, letter_id: str) -> Facts | None:
        """Give one dead letter with its bytes, or None; ValueError where that is no id."""
        ...

    def requeue(self, tenant: str, letter_id: str) -> str | None:
        """Append the entry again and give its new id; None where the letter is gone.

        Raises:
            NotKept: the letter holds a part of the entry only.
        """
        ...

    def discard(self, tenant: str, letter_id: str) -> bool:
        """Delete a letter for ever; say whether it was there."""
        ...

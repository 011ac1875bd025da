"""Requests for new entries that were sent, and what is received for them.

Used by `consumers.delivery.groups`, which makes them, and `consumers.loop.read_ahead`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from consumers.delivery.deliveries import Delivery
from streams.wire import PendingReplies


class Received(NamedTuple):
    """New entries that were delivered."""

    deliveries: list[Delivery]
    filled: list[str]
    """Tenants whose quantum was filled, or that were not read: they may have more."""


class ReadRequest:
    """A request for new entries whose replies are not received yet.

    Args:
        receive: waits for the replies and returns the deliveries; it is called at most once.
        sent: the commands, if they were sent already.
    """

    def __init__(self, receive: Callable[[], Received], sent: PendingReplies | None = None) -> None:
        self._sent = sent
        self.receive = receive
        """Wait for the entries; call it once. It raises what `ConsumerGroup.request` raises."""

    @property
    def is_sent(self) -> bool:
        """True if the server delivers now, False if it delivers when `receive` is called."""
        return self._sent is not None

    def give_up(self) -> None:
        """Do not wait for the entries; what was delivered stays pending."""
        if self._sent is not None:
            self._sent.give_up()

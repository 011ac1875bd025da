"""Dead letters: entries that can never be applied, kept with all that is known of them."""

from __future__ import annotations

import redis

from consumers.groups import Delivery
from streams.entries import field_of
from streams.keys import Keys
from streams.wire import Command, ask, checked, round_trip

DETAIL_LENGTH = 500


class DeadLetters:
    """Buries entries of one group."""

    def __init__(self, client: redis.Redis, group: str, *, keys: Keys | None = None) -> None:
        self._client = client
        self._group = group
        self._keys = keys or Keys()

    def bury(self, delivery: Delivery, reason: str, detail: str) -> None:
        """Move one entry from pending to the dead letters, both or neither."""
        stream = self._keys.stream(delivery.tenant)
        entry_id = delivery.id
        pending = ask(self._client, "XPENDING", stream, self._group, entry_id, entry_id, 1)
        deliveries = pending[0][3] if pending else 1
        commands: list[Command] = [
            ("MULTI",),
            self._letter(delivery, reason, detail, deliveries),
            ("XACK", stream, self._group, entry_id),
            ("EXEC",),
        ]
        checked(round_trip(self._client, commands))

    def _letter(self, delivery: Delivery, reason: str, detail: str, deliveries: int) -> Command:
        event = field_of(delivery.fields)
        others = () if event is not None else _as_found(delivery)
        facts: dict[str, str | bytes | int] = {
            "event": event or b"",
            "entry_id": delivery.id,
            "group": self._group,
            "reason": reason,
            "detail": " ".join(detail.split())[:DETAIL_LENGTH],
            "deliveries": deliveries,
        }
        fields = [part for fact in facts.items() for part in fact]
        return ("XADD", self._keys.dead(delivery.tenant), "*", *fields, *others)


def _as_found(delivery: Delivery) -> tuple[bytes, ...]:
    """Keep the fields of an entry that has no `event` among them."""
    names, values = delivery.fields[::2], delivery.fields[1::2]
    return tuple(
        part for pair in zip(names, values, strict=True) for part in (b"found:" + pair[0], pair[1])
    )

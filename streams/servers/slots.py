"""Hash slots of a Redis Cluster: the slot of a key, and the node that has a slot.

A cluster divides its keys into 16,384 slots. Keys with the same *hash tag*, the text between
braces, share a slot. `streams/cluster.py` sends commands by this. Used by
`api.live.cluster_subscriptions`, `consumers.delivery.ready_waits`, `ops.doctor.cluster.checks` and
`streams`.
"""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

SLOTS = 16_384
Address = tuple[str, int]

TAGS = tuple(f"q{number}" for number in range(256))
"""The hash tags of ready queues. The queue of a node has the first tag whose slot the node has: a
failover changes no name, and every process finds the same ones."""

REMEMBERED = 4_096
"""The keys whose slots are remembered, those of the busy streams and queues among them."""


@lru_cache(REMEMBERED)
def slot_of(key: str | bytes) -> int:
    """Return the hash slot of a key."""
    raw = key.encode(errors="surrogateescape") if isinstance(key, str) else key
    begin = raw.find(b"{")
    if begin >= 0:
        end = raw.find(b"}", begin + 1)
        if end > begin + 1:
            raw = raw[begin + 1 : end]
    return crc_hqx(raw, 0) % SLOTS


class SlotMap:
    """The primary of each slot, from a reply to CLUSTER SLOTS.

    Args:
        reply: the reply.
        asked: the node that sent it, which may leave out its own host.
    """

    def __init__(self, reply: Sequence[Any], asked: Address) -> None:
        ranges = sorted(
            (int(first), int(last), _address(node, asked)) for first, last, node, *_ in reply
        )
        self._nodes: list[Address | None] = [None] * SLOTS
        self.first_slots: dict[Address, int] = {}
        """The lowest slot of each primary."""
        for first, last, node in ranges:
            self._nodes[first : last + 1] = [node] * (last + 1 - first)
            self.first_slots.setdefault(node, first)
        self.primaries = tuple(self.first_slots)
        self._tags: dict[Address | None, str] = {}
        for tag in TAGS:
            self._tags.setdefault(self.node_of(slot_of(tag)), tag)
        self.tags = tuple(tag for node, tag in self._tags.items() if node is not None)
        """The hash tag of the ready queue of each primary."""

    def node_of(self, slot: int) -> Address | None:
        """Return the primary that has the slot, or None if none has it."""
        return self._nodes[slot]

    def home_of(self, key: str) -> Address | None:
        """Return the primary that has the key, if it has a ready queue, too; else None."""
        node = self._nodes[slot_of(key)]
        return node if node in self._tags else None

    def tag_of(self, key: str) -> str:
        """Return the hash tag of the ready queue of the node that has the key."""
        return self._tags.get(self._nodes[slot_of(key)], TAGS[0])


def _address(node: Sequence[Any], asked: Address) -> Address:
    host = node[0].decode() if isinstance(node[0], bytes) else ""
    return (host if host not in ("", "?") else asked[0], int(node[1]))

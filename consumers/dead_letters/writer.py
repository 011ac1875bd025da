"""The consumers' side of the dead letters: moving a pending entry to them.

A letter has the entry's bytes; of an entry that is larger than any event may be, it has the
beginning and a hash. Operators read the letters with `consumers.dead_letters.store`. Used by
`consumers.loop.settling`, for each entry that its group can never apply, and also by
`consumers.composition` and `consumers.loop.runner`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from hashlib import sha256

import redis

from consumers.dead_letters.letter_format import OTHER_PREFIX, letter_keys, script
from consumers.dead_letters.limits import Limits, count_dropped
from consumers.dead_letters.trials import TRIAL_STEP
from consumers.delivery.deliveries import Delivery
from streams.cluster import checked_served, keys_of
from streams.entries import FIELD, field_of
from streams.events import MAX_EVENT_BYTES
from streams.keys import Keys
from streams.wire import round_trip

DETAIL_LENGTH = 500
"""The most characters of a detail that are stored."""
OTHER_FIELDS = 3_000
"""The most fields besides `event` that a letter has: a script takes no more arguments."""
HEAD_BYTES = 16_384
"""The bytes that are stored of an entry that is too large."""


class DeadLetterWriter:
    """Writes the dead letters of one group.

    Args:
        max_event_bytes: of a larger entry only the beginning is stored.
    """

    def __init__(
        self,
        client: redis.Redis,
        group: str,
        *,
        keys: Keys | None = None,
        limits: Limits | None = None,
        max_event_bytes: int = MAX_EVENT_BYTES,
    ) -> None:
        self._client = client
        self._group = group
        self._keys = keys or keys_of(client)
        self._limits = limits or Limits()
        self._max_event_bytes = max_event_bytes
        self._write = client.register_script(script("write.lua"))

    def write(self, delivery: Delivery, reason: str, detail: str) -> bool:
        """Move one entry from pending to the dead letters in one step, and list its tenant.

        Return whether the entry has a letter. An entry that is no longer pending is left alone: it
        was settled, or will be delivered again. One that an operator has settled is acknowledged.

        Raises:
            redis.RedisError: Redis is unavailable or refuses; the entry is pending, or its tenant
                is not listed yet. Call it again.
        """
        text = " ".join(detail.split())[:DETAIL_LENGTH]
        body = [b"entry_id", delivery.id, *_body(delivery.fields, self._max_event_bytes)]
        reply = self._write(
            keys=letter_keys(self._keys, delivery.tenant),
            args=[
                self._group,
                delivery.id,
                TRIAL_STEP,
                *self._limits.arguments,
                reason,
                text,
                *body,
            ],
        )
        if reply:
            count_dropped(delivery.tenant, *map(int, reply[1:]))
        now = time.time_ns() // 1_000_000
        listing = ("ZADD", self._keys.dead_tenants(), now, delivery.tenant)
        # If the list is on a lost node of a cluster, the samples add the tenant later.
        checked_served(round_trip(self._client, [listing], partial=True))
        return bool(reply and reply[0])


def _body(fields: Sequence[bytes], max_event_bytes: int) -> Iterator[bytes]:
    """Yield the fields and values of an entry as its letter has them."""
    event = field_of(fields) or b""
    pairs = zip(fields[::2], fields[1::2], strict=True)
    others = [pair for pair in pairs if pair[0] != FIELD][:OTHER_FIELDS]
    size = len(event) + sum(len(name) + len(value) for name, value in others)
    if size <= max_event_bytes + HEAD_BYTES:
        yield from (b"event", event)
        for name, value in others:
            yield from (OTHER_PREFIX + name, value)
    else:
        yield from _head(event, others, size)


def _head(event: bytes, others: Sequence[tuple[bytes, bytes]], size: int) -> Iterator[bytes]:
    """Yield the beginning of a large entry, its size and its hash."""
    digest = sha256()
    for part in [event] if event else [part for pair in others for part in pair]:
        digest.update(part)
    yield from (b"event", event[:HEAD_BYTES])
    yield from (b"bytes", b"%d" % (len(event) or size), b"sha256", digest.hexdigest().encode())
    left = HEAD_BYTES
    for name, value in others:
        if left <= 0:
            break
        kept = name[:left], value[: max(0, left - len(name))]
        left -= len(name) + len(value)
        yield from (OTHER_PREFIX + kept[0], kept[1])

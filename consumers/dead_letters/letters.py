"""Dead letters: entries that can never be applied, kept with all that is known of them.

Consumers bury (`DeadLetters`); operators list, requeue and discard
(`consumers.dead_letters.buried_entries`). A *letter* holds one entry, whichever and how many groups
buried it, under an id of its own. To *requeue* it is to append its entry again, under a new entry
id.

A tenant's letters are bounded in bytes and age (`Limits`): the oldest are dropped first, which is
counted. An entry that is larger than any event may be is kept as its beginning and its hash.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import NamedTuple

import redis
import structlog

from consumers import metrics
from consumers.dead_letters.letter_format import FOUND, letter_keys, script
from consumers.dead_letters.trials import TRIAL, Trials
from consumers.delivery.groups import Delivery
from consumers.round_trips import round_trips
from streams.entries import FIELD, field_of
from streams.events import MAX_EVENT_BYTES
from streams.keys import Keys
from streams.wire import ask, checked

_LOG = structlog.get_logger(__name__)

DETAIL_LENGTH = 500
FOUND_FIELDS = 3_000
"""Fields beside `event` that a letter keeps at most: a script takes no more words."""
HEAD_BYTES = 16_384
"""The part that is kept of an entry that is too large."""
DROPPED_AT_ONCE = 1_000


class Limits(NamedTuple):
    """The limits on one tenant's dead letters."""

    max_bytes: int = 16 * 1024 * 1024
    keep_seconds: int = 30 * 86_400

    @property
    def words(self) -> tuple[int, int, int]:
        """The arguments of scripts: bytes, milliseconds, and how many letters to drop at once."""
        return self.max_bytes, self.keep_seconds * 1000, DROPPED_AT_ONCE


class DeadLetters:
    """Buries entries of one group.

    Args:
        max_event_bytes: of an entry that is larger, only the beginning is kept.
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
        self._keys = keys or Keys()
        self._limits = limits or Limits()
        self._max_event_bytes = max_event_bytes
        self._bury = client.register_script(script("dead_bury.lua"))

    def bury(self, delivery: Delivery, reason: str, detail: str) -> None:
        """Move one entry from pending to the dead letters, both or neither.

        One that is pending no longer is let be: it was settled, or it will be delivered again.
        """
        said = " ".join(detail.split())[:DETAIL_LENGTH]
        body = [b"entry_id", delivery.id, *_body(delivery.fields, self._max_event_bytes)]
        done = self._bury(
            keys=letter_keys(self._keys, delivery.tenant),
            args=[self._group, delivery.id, TRIAL, *self._limits.words, reason, said, *body],
        )
        if done:
            count_dropped(delivery.tenant, *map(int, done[1:]))

    def trials(self, consumer: str) -> Trials:
        """Return the trials of entries that may kill this consumer."""
        return Trials(self._client, self._group, consumer, self._keys)


def drop_old(client: redis.Redis, keys: Keys, tenants: Sequence[str], limits: Limits) -> None:
    """Drop what these tenants' dead letters have beyond the limits, a bounded number of each."""
    # Loaded anew each time: a restart or a failover forgets scripts.
    digest = ask(client, "SCRIPT", "LOAD", script("dead_drop.lua"))
    names = [letter_keys(keys, tenant)[1:3] for tenant in tenants]
    replies = round_trips(client, (("EVALSHA", digest, 2, *name, *limits.words) for name in names))
    for tenant, reply in zip(tenants, replies, strict=True):
        count_dropped(tenant, *checked([reply])[0])


def count_dropped(tenant: str, by_bytes: int, by_age: int) -> None:
    """Count and log letters of a tenant that were dropped."""
    for why, count in (("bytes", by_bytes), ("age", by_age)):
        if count:
            metrics.DEAD_DROPPED.labels(why).inc(count)
            _LOG.warning("dead_letters_dropped", tenant=tenant, why=why, count=count)


def _body(fields: Sequence[bytes], max_event_bytes: int) -> Iterator[bytes]:
    """Yield the fields and values of an entry as its letter keeps them."""
    event = field_of(fields) or b""
    pairs = zip(fields[::2], fields[1::2], strict=True)
    others = [pair for pair in pairs if pair[0] != FIELD][:FOUND_FIELDS]
    size = len(event) + sum(len(name) + len(value) for name, value in others)
    if size <= max_event_bytes + HEAD_BYTES:
        yield from (b"event", event)
        for name, value in others:
            yield from (FOUND + name, value)
        return
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
        yield from (FOUND + kept[0], kept[1])

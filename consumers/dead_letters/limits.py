"""The limits on one tenant's dead letters: bytes and age. The oldest letters are dropped first.

Used by `consumers.dead_letters.writer`, which drops letters when it writes one, and by
`consumers.dead_letters.tenants`, which drops letters of tenants without new ones, and also by
`consumers.chores.samples` and `consumers.composition`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import redis
import structlog

from consumers import metrics
from consumers.dead_letters.letter_format import letter_keys, script
from streams.keys import Keys
from streams.scripts import Script
from streams.wire import checked

_LOG = structlog.get_logger(__name__)

DROPPED_AT_ONCE = 1_000
"""The number of letters that one script drops at most."""


class Limits(NamedTuple):
    """The limits on one tenant's dead letters."""

    max_bytes: int = 16 * 1024 * 1024
    keep_seconds: int = 30 * 86_400

    @property
    def arguments(self) -> tuple[int, int, int]:
        """The arguments of scripts that drop letters: bytes, milliseconds, most letters to drop."""
        return self.max_bytes, self.keep_seconds * 1000, DROPPED_AT_ONCE


def drop_old(client: redis.Redis, keys: Keys, tenants: Sequence[str], limits: Limits) -> None:
    """Drop these tenants' letters beyond the limits, at most `DROPPED_AT_ONCE` of each tenant.

    Where more are beyond them, the next call drops the rest.

    Raises:
        redis.RedisError: Redis is unavailable, or refuses for some tenant; the letters of the
            others were dropped, counted and logged.
    """
    # Of a tenant's keys, the letters and their index.
    runs = ((letter_keys(keys, tenant)[1:3], limits.arguments) for tenant in tenants)
    replies = Script(script("drop.lua")).run(client, runs)
    for tenant, reply in zip(tenants, replies, strict=True):
        if not isinstance(reply, redis.RedisError):
            count_dropped(tenant, *reply)
    checked(replies)


def count_dropped(tenant: str, by_bytes: int, by_age: int) -> None:
    """Count in the metrics, and log, letters of a tenant that were dropped for each limit."""
    for reason, count in (("bytes", by_bytes), ("age", by_age)):
        if count:
            metrics.DEAD_DROPPED.labels(reason).inc(count)
            _LOG.warning("dead_letters_dropped", tenant=tenant, reason=reason, count=count)

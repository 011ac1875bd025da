"""Reading a tenant's stream as it grows, for `jobtrail tail`; `event_view` shows its entries.

Used by `ops.commands.tail` and `ops.tasks.events.event_view`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import redis

from ops.errors import CommandError
from streams.cluster import keys_of
from streams.entries import field_of
from streams.entry_ids import EntryId, of_reply
from streams.keys import Keys
from streams.wire import ask

BLOCK_MS = 1_000
"""The time that one XREAD waits for new entries."""
AT_ONCE = 500
"""Entries of one reply."""


def check_start(since: str) -> None:
    """Raise if a text is not where `follow` can start.

    Raises:
        CommandError: it is neither an entry id nor `$`.
    """
    try:
        if since != "$":
            EntryId.parse(since)
    except ValueError:
        raise CommandError(
            f"{since!r} is not an entry id: pass one, such as 1767225600000-0, or 0 for all,"
            " or $ for new entries"
        ) from None


class RawEntry(NamedTuple):
    """One entry of the stream; `raw` is its `event` field as it was appended, empty without one."""

    entry_id: EntryId
    raw: bytes


def follow(
    client: redis.Redis,
    tenant: str,
    since: str,
    keys: Keys | None = None,
    *,
    done: Callable[[], bool] = lambda: False,
) -> Iterator[RawEntry]:
    """Yield the entries after `since` (`$`: new ones only) as they are appended, until `done()`.

    Raises:
        redis.RedisError: Redis is unavailable or refuses the command.
    """
    stream = (keys or keys_of(client)).stream(tenant)
    last = since if since != "$" else _last(client, stream)
    while not done():
        command = ("XREAD", "COUNT", AT_ONCE, "BLOCK", BLOCK_MS, "STREAMS", stream, last)
        for _, entries in ask(client, *command) or ():
            for raw_id, fields in entries:
                last = raw_id.decode()
                yield RawEntry(of_reply(raw_id), field_of(fields) or b"")


def _last(client: redis.Redis, stream: str) -> str:
    newest = ask(client, "XREVRANGE", stream, "+", "-", "COUNT", 1)
    return str(of_reply(newest[0][0])) if newest else "0-0"

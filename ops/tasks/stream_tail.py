"""Watching a tenant's log as it grows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import redis

from ops.errors import CommandError
from streams.entries import field_of
from streams.entry_ids import EntryId, of_reply
from streams.events import InvalidEvent, parse_event
from streams.keys import Keys
from streams.wire import ask

BLOCK_MS = 1_000
AT_ONCE = 500


def check_start(since: str) -> None:
    """Refuse what is no place in a log.

    Raises:
        CommandError: it is neither an entry id nor `$`.
    """
    try:
        if since != "$":
            EntryId.parse(since)
    except ValueError:
        raise CommandError(
            f"{since!r} is no entry id: 1767225600000-0, 0 for all, $ for what comes"
        ) from None


class Seen(NamedTuple):
    """One entry of the log, as it came."""

    entry_id: EntryId
    raw: bytes


def follow(
    client: redis.Redis,
    tenant: str,
    since: str,
    keys: Keys | None = None,
    *,
    done: Callable[[], bool] = lambda: False,
) -> Iterator[Seen]:
    """Yield entries after `since` (`$`: from now on) as they are appended, until `done`."""
    stream = (keys or Keys()).stream(tenant)
    last = since if since != "$" else _last(client, stream)
    while not done():
        command = ("XREAD", "COUNT", AT_ONCE, "BLOCK", BLOCK_MS, "STREAMS", stream, last)
        for _, entries in ask(client, *command) or ():
            for raw_id, fields in entries:
                last = raw_id.decode()
                yield Seen(of_reply(raw_id), field_of(fields) or b"")


def describe(seen: Seen) -> str:
    """Give one entry as a line for people."""
    when = seen.entry_id.time.strftime("%H:%M:%S.%f")[:-3]
    try:
        event = parse_event(seen.raw)
    except InvalidEvent as error:
        return f"{when}  {seen.entry_id}  not an event: {error}"
    facts: dict[str, Any] = event.model_dump(
        exclude={"v", "type", "kind", "id", "event_id", "at"}, exclude_none=True
    )
    told = " ".join(f"{name}={value}" for name, value in facts.items())
    return f"{when}  {event.type:<10}  {event.kind}:{event.id}  {told}"


def _last(client: redis.Redis, stream: str) -> str:
    newest = ask(client, "XREVRANGE", stream, "+", "-", "COUNT", 1)
    return str(of_reply(newest[0][0])) if newest else "0-0"

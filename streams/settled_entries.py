"""Entries that the projection `status` has settled: the documents reflect each of them.

An entry is *settled* once its group has acknowledged it: its effect is stored, or nothing of it is,
because the fold ignores it or it became a dead letter. The server knows this of each entry by
itself, so that consumers may settle entries in any order, in any number of processes. A trimmed
entry was settled before. Readers of documents ask here; nothing but the ids of a tenant's own
stream decides the answer. Used by `api.progress`, `projections.reading` and `streams.compat`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from typing import Any

import redis

from .entry_ids import EntryId, of_reply
from .wire import Command, round_trip

STATUS_GROUP = b"status"
FIRST_PAUSE, LAST_PAUSE = 0.01, 0.5
"""The shortest and the longest pause in seconds between two questions; each is twice the last."""

_COMPLETE = re.compile(r"[0-9]{1,20}-[0-9]{1,20}\Z", re.ASCII)
_NOT_SETTLED = ("ERR no such key", "no such key", "NOGROUP", "WRONGTYPE")
"""Refusals of a server without the stream or its group, which will read every entry."""


def complete_entry_id(text: str) -> EntryId:
    """Return the entry id of `ms-seq`, as an append returns it; the sequence is required.

    Raises:
        ValueError: the text is not a complete entry id.
    """
    if not _COMPLETE.match(text):
        raise ValueError(f"{text[:64]!r} is no entry id: give milliseconds-sequence")
    return EntryId.parse(text)


def questions(stream: str, entry_id: EntryId) -> tuple[Command, Command]:
    """Build the two commands that tell whether an entry is settled, in this order.

    An entry that was delivered when the first is executed, and is not pending when the second is,
    has been acknowledged. In the other order it could be delivered in between.
    """
    text = str(entry_id)
    return ("XINFO", "GROUPS", stream), ("XPENDING", stream, STATUS_GROUP, text, text, 1)


def is_settled(replies: Sequence[Any], entry_id: EntryId) -> bool:
    """Return True if the replies to the `questions` tell that the entry is settled.

    Raises:
        redis.RedisError: the server was lost, or refuses for a reason other than a missing stream
            or group.
    """
    for reply in replies:
        if isinstance(reply, redis.RedisError):
            if str(reply).startswith(_NOT_SETTLED):
                return False
            raise reply
    groups, pending = replies
    return not pending and entry_id <= _last_delivered(groups)


def wait_until_settled(client: redis.Redis, stream: str, entry_id: EntryId, seconds: float) -> bool:
    """Wait up to so many seconds until an entry is settled; return True if it is.

    Raises:
        redis.RedisError: Redis is unavailable or refuses.
    """
    deadline = time.monotonic() + seconds
    for pause in pauses():
        if is_settled(round_trip(client, questions(stream, entry_id)), entry_id):
            return True
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(pause, left))
    raise AssertionError("unreachable")


def pauses() -> Iterator[float]:
    """Yield the pauses in seconds between questions about one entry, without end."""
    pause = FIRST_PAUSE
    while True:
        yield pause
        pause = min(pause * 2, LAST_PAUSE)


def _last_delivered(groups: Sequence[Sequence[Any]]) -> EntryId:
    for row in groups:
        facts = dict(zip(row[::2], row[1::2], strict=True))
        if facts[b"name"] == STATUS_GROUP:
            return of_reply(facts[b"last-delivered-id"])
    return EntryId(-1, 0)

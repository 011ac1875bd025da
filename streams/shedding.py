"""Shedding: a log that takes too many bytes is given no more `progress`, and everything else.

The cap is looked at before an event is appended, by a script that measures the log, appends or
counts: what is in a log already cannot be taken out of its middle to any gain. Other types never go
through it. Foreign XADDs are not held by it either, and count as bytes like everything else.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import redis

from .entry_ids import FIRST
from .keys import Keys
from .wire import Command, ask

SHED = FIRST
"""Stands for the entry id of an event that was shed: 0-0, which no log gives to any entry."""

SHEDDABLE = "progress"
"""The only type that is ever shed: the next one of its job says more."""

_SCRIPT = Path(__file__).with_name("append_progress.lua").read_bytes()
_SHA = hashlib.sha1(_SCRIPT, usedforsecurity=False).hexdigest()


class Cap(NamedTuple):
    """How many bytes a log may take before progress is shed."""

    keys: Keys
    groups: Sequence[str]
    max_bytes: int

    def command(self, tenant: str, field: str, payload: bytes) -> Command:
        """Build the command that appends one event and marks its tenant, or sheds it.

        Its reply is an entry id, or nothing where the event was shed.
        """
        names = (
            self.keys.stream(tenant),
            self.keys.measured(tenant),
            self.keys.shed(),
            *(self.keys.ready(group) for group in self.groups),
        )
        now = time.time_ns() // 1_000_000
        return "EVALSHA", _SHA, len(names), *names, self.max_bytes, tenant, now, field, payload


LOAD: Command = ("SCRIPT", "LOAD", _SCRIPT)
"""Gives the server the script, which it forgets when it restarts."""


def unscripted(replies: Sequence[object]) -> list[int]:
    """Give the places of the replies of a server that did not know the script."""
    return [
        at for at, reply in enumerate(replies) if isinstance(reply, redis.exceptions.NoScriptError)
    ]


def shed_counts(client: redis.Redis, keys: Keys | None = None) -> Mapping[str, int]:
    """Give how many events were shed ever since the count began, by tenant.

    Raises:
        redis.RedisError: the server is away or refuses.
    """
    reply: Any = ask(client, "HGETALL", (keys or Keys()).shed())
    flat = reply if isinstance(reply, list) else [each for pair in reply.items() for each in pair]
    return {
        tenant.decode(): int(count) for tenant, count in zip(flat[::2], flat[1::2], strict=True)
    }

"""Shedding: a stream that has reached its maximum size takes no more `progress` events.

A script measures the stream and either appends an event or counts it as shed. Events are shed
before they are appended, because deleting entries from the middle of a stream frees little memory.
Events of other types are never shed and are not sent through the script. The same applies to what
others append by XADD, which counts towards the size. Used by `ops.doctor.stream_checks`,
`ops.tasks.events.event_lines` and `streams`.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import redis

from .cluster import keys_of
from .entry_ids import FIRST
from .keys import Keys
from .wire import Command, ask

SHED = FIRST
"""Entry id that stands for an event that was shed: 0-0, which no entry of a stream has."""

SHEDDABLE = "progress"
"""The only type of events that is shed, because the next one of the job replaces it."""

SCRIPT = Path(__file__).with_name("append_progress.lua").read_bytes()
_SHA = hashlib.sha1(SCRIPT, usedforsecurity=False).hexdigest()


class Cap(NamedTuple):
    """Maximum size of a tenant's stream, above which its progress is shed."""

    keys: Keys
    groups: Sequence[str]
    max_bytes: int

    def command(self, tenant: str, field: str, payload: bytes) -> Command:
        """Build the command that appends one event and marks its tenant as ready, or sheds it.

        Its reply is the entry id, or nil if the event was shed.
        """
        shared = (self.keys.shed(), *(self.keys.ready(group) for group in self.groups))
        return self._command(tenant, field, payload, shared)

    def command_of_slot(self, tenant: str, field: str, payload: bytes) -> Command:
        """Build the command that appends one event or sheds it, on a cluster.

        It neither counts nor marks, because those keys have other slots.
        """
        return self._command(tenant, field, payload, ())

    def _command(self, tenant: str, field: str, payload: bytes, shared: Sequence[str]) -> Command:
        names = (self.keys.stream(tenant), self.keys.measured(tenant), *shared)
        now = time.time_ns() // 1_000_000
        return "EVALSHA", _SHA, len(names), *names, self.max_bytes, tenant, now, field, payload


LOAD: Command = ("SCRIPT", "LOAD", SCRIPT)
"""Command that loads the script, which a server loses when it restarts."""


def indexes_without_script(replies: Sequence[object]) -> list[int]:
    """Return the indexes of the commands that failed because the server did not have the script."""
    return [
        index
        for index, reply in enumerate(replies)
        if isinstance(reply, redis.exceptions.NoScriptError)
    ]


def shed_counts(client: redis.Redis, keys: Keys | None = None) -> Mapping[str, int]:
    """Return the number of events that were shed since the first one, by tenant.

    Raises:
        redis.RedisError: the server is unavailable or refuses.
    """
    reply: Any = ask(client, "HGETALL", (keys or keys_of(client)).shed())
    flat = reply if isinstance(reply, list) else [each for pair in reply.items() for each in pair]
    return {
        tenant.decode(): int(count) for tenant, count in zip(flat[::2], flat[1::2], strict=True)
    }

"""Keys whose name is jobtrail's and whose type is not: what other programs wrote.

Used by `ops.doctor.deployment`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import redis

from streams.cluster import servers_of
from streams.discovery import COUNT, START
from streams.keys import Keys
from streams.wire import Command, as_text, checked, round_trip

_TYPE_OF_ENDING = {
    ":events": "stream",
    ":dead": "stream",
    ":feed": "zset",
    ":status": "string",
    ":progress": "string",
    ":ended": "string",
    ":measured": "string",
}
_HASHES = (":index:dead", ":settled:dead")
"""Endings of hashes that end like a stream of dead letters."""
_TYPES = ("string", "list", "set", "hash", "zset", "stream")
_OF_STRINGS = ":[edf][ve]*"
"""Matches the endings of streams and sorted sets, and few of the many keys that are strings."""


class UnexpectedKey(NamedTuple):
    """A key of another type than its name requires."""

    name: str
    type: str

    @property
    def tenant(self) -> str:
        """The tenant that the key's name contains."""
        return self.name.split(":")[1].strip("{}")


def unexpected_keys(client: redis.Redis) -> list[UnexpectedKey]:
    """Return the keys of tenants whose type keeps the tenant from being served, by name.

    The server filters by type, so that it returns few keys besides those. The scans of all types
    share their round trips.

    Raises:
        redis.RedisError: Redis is unavailable or refuses a command.
    """
    return sorted({key for server in servers_of(client) for key in _of_server(server)})


def _of_server(client: redis.Redis) -> set[UnexpectedKey]:
    cursors = dict.fromkeys(_TYPES, START)
    found = set[UnexpectedKey]()
    while cursors:
        commands = [_scan(type_, cursor) for type_, cursor in cursors.items()]
        replies = checked(round_trip(client, commands))
        for type_, (_, names) in zip(cursors, replies, strict=True):
            found.update(_unexpected(type_, map(as_text, names)))
        after = zip(cursors, (cursor for cursor, _ in replies), strict=True)
        cursors = {type_: cursor for type_, cursor in after if cursor != START}
    return found


def _scan(type_: str, cursor: bytes) -> Command:
    pattern = Keys().pattern(_OF_STRINGS if type_ == "string" else "")
    return ("SCAN", cursor, "MATCH", pattern, "COUNT", COUNT, "TYPE", type_)


def _unexpected(type_: str, names: Iterator[str]) -> Iterator[UnexpectedKey]:
    """Yield those of the keys of a type whose name belongs to another type."""
    ends = tuple(end for end, expected in _TYPE_OF_ENDING.items() if expected != type_)
    for name in names:
        ours = type_ == "hash" and name.endswith(_HASHES)
        if not ours and name.endswith(ends):
            yield UnexpectedKey(name, type_)

"""Finding keys by their pattern: the only way to logs that nobody announced."""

from __future__ import annotations

from collections.abc import Iterator

import redis

from .keys import STREAM_PATTERN, Keys
from .wire import ask

START = b"0"
"""The cursor before the first step, and after the last."""

COUNT = 1_000
"""Keys that the server looks at in one step, about."""


def scan_streams(
    client: redis.Redis, cursor: bytes, pattern: str = STREAM_PATTERN
) -> tuple[bytes, list[bytes]]:
    """Take one step through the keyspace; give the next cursor and the streams found."""
    what = ("MATCH", pattern, "COUNT", COUNT, "TYPE", "stream")
    cursor, names = ask(client, "SCAN", cursor, *what)
    return cursor, names


def all_streams(client: redis.Redis, pattern: str = STREAM_PATTERN) -> Iterator[bytes]:
    """Give the streams of a pattern, each once, as the server lets them be found."""
    seen, cursor = set[bytes](), START
    while True:
        cursor, names = scan_streams(client, cursor, pattern)
        for name in names:
            if name not in seen:
                seen.add(name)
                yield name
        if cursor == START:
            return


def tenants(client: redis.Redis, keys: Keys) -> list[str]:
    """Give every tenant that has a log, in the order of their names."""
    return sorted(
        keys.tenant_of(name.decode(errors="surrogateescape")) for name in all_streams(client)
    )

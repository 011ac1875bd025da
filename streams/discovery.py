"""Discovery of streams by a scan of the keyspace, which also finds those without a ready mark.

Used by `consumers`, `projections` and `ops`, where all tenants are covered.
"""

from __future__ import annotations

from collections.abc import Iterator

import redis

from .keys import STREAM_PATTERN, Keys
from .wire import as_text, ask

START = b"0"
"""The cursor before the first step, and after the last."""

COUNT = 1_000
"""Number of keys that the server visits in one step, approximately."""


def scan_streams(
    client: redis.Redis, cursor: bytes, pattern: str = STREAM_PATTERN
) -> tuple[bytes, list[bytes]]:
    """Scan one part of the keyspace; return the next cursor and the keys of the streams found."""
    options = ("MATCH", pattern, "COUNT", COUNT, "TYPE", "stream")
    cursor, names = ask(client, "SCAN", cursor, *options)
    return cursor, names


def all_streams(client: redis.Redis, pattern: str = STREAM_PATTERN) -> Iterator[bytes]:
    """Yield the keys of the streams that match a pattern, each once, in no order."""
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
    """Return the tenants that have a stream, sorted by name."""
    return sorted(keys.tenant_of(as_text(name)) for name in all_streams(client))

"""Discovery of streams by a scan of the keyspace, which also finds those without a ready mark.

Used by `consumers`, `projections` and `ops`, where all tenants are covered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import redis

from .cluster import Cluster, keys_of
from .keys import STREAM_END, Keys
from .wire import as_text, ask, checked

START = b"0"
"""The cursor before the first step, and after the last."""

COUNT = 1_000
"""Number of keys that the server visits in one step, approximately."""


def scan(
    client: redis.Redis, cursor: bytes, *options: str | bytes | int, skip_lost: bool = False
) -> tuple[bytes, list[bytes]]:
    """Scan one part of the keyspace with options of SCAN; return the next cursor and the keys.

    On a cluster the nodes are scanned one after another, and the cursor also names the node. If
    that is no primary any more, the scan begins again. Keys of a slot that moves may be missed;
    with `skip_lost`, so may be those of a lost node, which otherwise raises.

    Raises:
        redis.RedisError: Redis is unavailable or refuses the command.
    """
    if not isinstance(client, Cluster):
        following, names = ask(client, "SCAN", cursor, *options)
        return following, names
    nodes = sorted(client.primaries())
    labels = [f"{host}:{port}".encode() for host, port in nodes]
    label, _, inner = cursor.rpartition(b" ")
    index = labels.index(label) if label in labels else 0
    start = inner if label in labels else START
    try:
        (reply,) = checked(client.ask_node(nodes[index], [("SCAN", start, *options)]))
        following, names = reply
    except (redis.ConnectionError, redis.TimeoutError):
        if not skip_lost:
            raise
        following, names = START, []
    if following == START:
        index += 1
    return b" ".join((labels[index], following)) if index < len(nodes) else START, names


def scan_streams(
    client: redis.Redis, cursor: bytes, pattern: str | None = None, *, skip_lost: bool = False
) -> tuple[bytes, list[bytes]]:
    """Scan one part of the keyspace; return the next cursor and the keys of the streams found.

    Without a pattern, they are tenants' streams. `skip_lost` is that of `scan`.
    """
    pattern = pattern or keys_of(client).pattern(STREAM_END)
    options = ("MATCH", pattern, "COUNT", COUNT, "TYPE", "stream")
    return scan(client, cursor, *options, skip_lost=skip_lost)


def all_streams(
    client: redis.Redis, pattern: str | None = None, *, skip_lost: bool = False
) -> Iterator[bytes]:
    """Yield the keys of the streams that match a pattern, each once, in no order.

    `skip_lost` is that of `scan`.
    """
    for names in scan_all(
        lambda cursor: scan_streams(client, cursor, pattern, skip_lost=skip_lost)
    ):
        yield from names


def scan_all(step: Callable[[bytes], tuple[bytes, list[bytes]]]) -> Iterator[list[bytes]]:
    """Yield the keys that the steps of a whole scan find, each once."""
    seen, cursor = set[bytes](), START
    while True:
        cursor, names = step(cursor)
        new = [name for name in dict.fromkeys(names) if name not in seen]
        seen.update(new)
        yield new
        if cursor == START:
            return


def tenants(client: redis.Redis, keys: Keys, *, skip_lost: bool = False) -> list[str]:
    """Return the tenants that have a stream, sorted by name; `skip_lost` is that of `scan`."""
    names = all_streams(client, skip_lost=skip_lost)
    return sorted(keys.tenant_of(as_text(name)) for name in names)

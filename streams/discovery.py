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

Skipping = Callable[[redis.RedisError], object]
"""A function that is called with the error of each node that a scan skips."""

COUNT = 1_000
"""Number of keys that the server visits in one step, approximately."""


def scan(
    client: redis.Redis,
    cursor: bytes,
    *options: str | bytes | int,
    skipping: Skipping | None = None,
) -> tuple[bytes, list[bytes]]:
    """Scan one part of the keyspace with options of SCAN; return the next cursor and the keys.

    On a cluster the nodes are scanned one after another, and the cursor also names the node. If
    that is no primary any more, the scan begins again. Keys of a slot that moves may be missed.

    Args:
        client: the client.
        cursor: `START`, or the cursor that the last step returned.
        options: options of SCAN.
        skipping: is called with the error of a lost node, whose keys are then missing; None to have
            the error raised.

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
    except (redis.ConnectionError, redis.TimeoutError) as error:
        if skipping is None:
            raise
        skipping(error)
        following, names = START, []
    if following == START:
        index += 1
    return b" ".join((labels[index], following)) if index < len(nodes) else START, names


def scan_streams(
    client: redis.Redis,
    cursor: bytes,
    pattern: str | None = None,
    *,
    skipping: Skipping | None = None,
) -> tuple[bytes, list[bytes]]:
    """Scan one part of the keyspace; return the next cursor and the keys of the streams found.

    Without a pattern, they are tenants' streams. `skipping` is that of `scan`.
    """
    pattern = pattern or keys_of(client).pattern(STREAM_END)
    options = ("MATCH", pattern, "COUNT", COUNT, "TYPE", "stream")
    return scan(client, cursor, *options, skipping=skipping)


def all_streams(
    client: redis.Redis,
    pattern: str | None = None,
    *,
    skipping: Skipping | None = None,
) -> Iterator[bytes]:
    """Yield the keys of the streams that match a pattern, each once, in no order.

    `skipping` is that of `scan`.
    """
    for names in scan_all(lambda cursor: scan_streams(client, cursor, pattern, skipping=skipping)):
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


def tenants(client: redis.Redis, keys: Keys, *, skipping: Skipping | None = None) -> list[str]:
    """Return the tenants that have a stream, sorted by name; `skipping` is that of `scan`."""
    names = all_streams(client, skipping=skipping)
    return sorted(keys.tenant_of(as_text(name)) for name in names)

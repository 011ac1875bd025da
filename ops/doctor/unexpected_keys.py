"""Keys of tenants that hold something else than jobtrail keeps there."""

from __future__ import annotations

from collections.abc import Iterator

import redis

from consumers.round_trips import encodable
from ops.doctor.finding import Finding
from streams.discovery import COUNT, START
from streams.wire import ask

SHOWN = 5
_ENDS = {
    ":events": "stream",
    ":dead": "stream",
    ":feed": "zset",
    ":status": "string",
    ":progress": "string",
    ":ended": "string",
    ":measured": "string",
}
_HASHES = (":index:dead", ":settled:dead")
_TYPES = ("string", "list", "set", "hash", "zset", "stream")


def odd_keys(client: redis.Redis) -> Finding:
    """Report keys of the wrong type, which keep their tenant from being served.

    The server is asked by type, so that it returns hardly more keys than those.
    """
    found = sorted({(key, type_) for type_ in _TYPES for key in _of_type(client, type_)})
    shown = ", ".join(f"{printable(key)} ({type_})" for key, type_ in found[:SHOWN])
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return Finding(
        "odd keys",
        ok=not found,
        found=f"{shown}{more}" if found else "none",
        advice="nothing of ours writes these: move them out of the way (RENAME), and find who does",
    )


def printable(name: str) -> str:
    """Return a name that somebody else chose, without what a terminal would obey."""
    text = encodable(name)
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def _of_type(client: redis.Redis, type_: str) -> Iterator[str]:
    """Yield the keys of a type whose name says that they are of another."""
    ends = [end for end, expected in _ENDS.items() if expected != type_]
    # Strings are by far the most: only the names that are wrong are asked for.
    patterns = [f"tenant:*{end}" for end in ends] if type_ == "string" else ["tenant:*"]
    for pattern in patterns:
        cursor = START
        while True:
            what = ("MATCH", pattern, "COUNT", COUNT, "TYPE", type_)
            cursor, names = ask(client, "SCAN", cursor, *what)
            for name in names:
                key = name.decode(errors="surrogateescape")
                ours = type_ == "hash" and key.endswith(_HASHES)
                if not ours and key.endswith(tuple(ends)):
                    yield key
            if cursor == START:
                break

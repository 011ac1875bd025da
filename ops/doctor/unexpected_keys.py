"""The doctor's check of keys whose name is jobtrail's and whose type is not."""

from __future__ import annotations

from collections.abc import Iterator

import redis

from ops.doctor.deployment import Deployment
from ops.doctor.finding import Verdict
from ops.doctor.summaries import first_of, printable
from streams.discovery import COUNT, START
from streams.keys import key_pattern
from streams.wire import as_text, ask

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


def unexpected_keys(deployment: Deployment) -> Verdict:
    """Check whether keys of tenants have a type that keeps the tenant from being served.

    The server filters by type, so that it returns few keys besides those.
    """
    client = deployment.client
    found = sorted({(key, type_) for type_ in _TYPES for key in _of_type(client, type_)})
    return Verdict(
        ok=not found,
        found=first_of([f"{printable(key)} ({type_})" for key, type_ in found]) or "none",
        advice="jobtrail does not write these: rename them (RENAME), and find out which program"
        " does",
    )


def _of_type(client: redis.Redis, type_: str) -> Iterator[str]:
    """Yield the keys of a type whose name belongs to another type."""
    ends = [end for end, expected in _TYPE_OF_ENDING.items() if expected != type_]
    # Most keys are strings: of these, only the names that are wrong are requested.
    patterns = [key_pattern(end) for end in ends] if type_ == "string" else [key_pattern("")]
    for pattern in patterns:
        cursor = START
        while True:
            what = ("MATCH", pattern, "COUNT", COUNT, "TYPE", type_)
            cursor, names = ask(client, "SCAN", cursor, *what)
            for name in names:
                key = as_text(name)
                ours = type_ == "hash" and key.endswith(_HASHES)
                if not ours and key.endswith(tuple(ends)):
                    yield key
            if cursor == START:
                break

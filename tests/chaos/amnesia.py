"""Amnesia: Redis forgets everything, and the history alone brings its documents back."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

import redis

from streams.cluster import servers_of
from streams.wire import round_trip

AT_ONCE = 1_000


def forget_and_replay(client: redis.Redis, environ: Mapping[str, str]) -> Iterator[str]:
    """Flush, replay `status`, and give every document that is not what it was, as a violation."""
    before = documents(client)
    for server in servers_of(client):
        server.flushall()
    with tempfile.TemporaryDirectory() as folder:
        replay = subprocess.run(
            [sys.executable, "-m", "ops", "replay", "status", "--json"],
            env={**environ, "JOBTRAIL_DATA_DIR": folder},
            capture_output=True,
            check=False,
        )
    if replay.returncode:
        yield f"the replay failed: {replay.stderr.decode()[-500:]}"
    after = documents(client)
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            yield f"replayed otherwise: {name.decode()}: {before.get(name)!r} {after.get(name)!r}"


def documents(client: redis.Redis) -> dict[bytes, bytes]:
    """Give the status and progress documents of all jobs."""
    found = dict[bytes, bytes]()
    for server in servers_of(client):
        for pattern in ("tenant:*:status", "tenant:*:progress"):
            names: Any = list(server.scan_iter(pattern, count=AT_ONCE))
            values = round_trip(server, [("GET", name) for name in names])
            found |= dict(zip(names, values, strict=True))
    return found

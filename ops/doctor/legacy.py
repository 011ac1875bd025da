"""The count of old keys, which do not contain the tenant, for `jobtrail doctor --legacy`.

Workers that do not append events yet write these keys with a time to live. The API reads them while
`JOBTRAIL_LEGACY_KEYS=on`. Used by `ops.commands.doctor`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import redis

from ops.doctor.finding import Finding
from streams.connection import connect
from streams.discovery import COUNT, START, scan
from streams.keys import LEGACY_PATTERN
from streams.settings import Settings
from streams.wire import checked, round_trip

TTL_SECONDS = 21_600
"""The time to live that old workers give their keys at every write."""

_NO_TTL, _NO_KEY = -1, -2
"""The replies of TTL for a key without a time to live, and for a key that does not exist."""


class OldKeyCounts(NamedTuple):
    """The numbers of old keys that still exist."""

    jobs: int
    """Keys of jobs that are not videos."""
    videos: int
    """Keys of videos."""
    endless: int
    """Keys of either kind without a time to live, which never expire."""
    seconds_since_write: int | None
    """Seconds since the last write, computed from the times to live; None if no key has one."""

    @property
    def total(self) -> int:
        """The number of all old keys."""
        return self.jobs + self.videos


def count_old_keys(client: redis.Redis) -> OldKeyCounts:
    """Count the old keys with SCAN, which does not block the server.

    Raises:
        redis.RedisError: Redis is unavailable or refuses the command.
    """
    found: dict[bytes, int] = {}
    for names in _scan(client):
        found.update(zip(names, checked(round_trip(client, _ttl_commands(names))), strict=True))
    ttls = {name: ttl for name, ttl in found.items() if ttl != _NO_KEY}
    videos = sum(name.startswith(b"job:video:") for name in ttls)
    endless = sum(ttl == _NO_TTL for ttl in ttls.values())
    longest = max((ttl for ttl in ttls.values() if ttl != _NO_TTL), default=None)
    since = None if longest is None else max(0, TTL_SECONDS - longest)
    return OldKeyCounts(len(ttls) - videos, videos, endless, since)


def examine_legacy(settings: Settings) -> Finding:
    """Return the finding on whether `JOBTRAIL_LEGACY_KEYS` can be unset: ok if no old key is left.

    Raises:
        SettingsError, InvalidUrl: the URL of Redis is not configured or not valid.
        redis.RedisError: Redis is unavailable or refuses the command.
    """
    with connect(settings.require_redis_url()) as client:
        counts = count_old_keys(client)
    read = settings.legacy_keys == "on"
    if not counts.total:
        advice = "no worker writes them: unset JOBTRAIL_LEGACY_KEYS" if read else ""
        return Finding("old keys", ok=True, found="none left", advice=advice, warns=read)
    return Finding("old keys", ok=False, found=_described(counts), advice=_advice(counts))


def _scan(client: redis.Redis) -> Iterator[list[bytes]]:
    """Yield the old keys in parts; a key may be in several parts."""
    cursor = START
    while True:
        what = ("MATCH", LEGACY_PATTERN, "COUNT", COUNT, "TYPE", "string")
        cursor, names = scan(client, cursor, *what)
        if names:
            yield names
        if cursor == START:
            return


def _ttl_commands(names: list[bytes]) -> list[tuple[str, bytes]]:
    return [("TTL", name) for name in names]


def _described(counts: OldKeyCounts) -> str:
    found = f"{counts.total} left ({counts.jobs} of jobs, {counts.videos} of videos)"
    if counts.seconds_since_write is not None:
        found += f", the latest written about {counts.seconds_since_write} s ago"
    return found


def _advice(counts: OldKeyCounts) -> str:
    if counts.seconds_since_write is None:
        return "they never expire, so no old worker wrote them: delete them"
    hours = TTL_SECONDS // 3_600
    never = f"; delete the {counts.endless} without a time to live" if counts.endless else ""
    return (
        f"a worker wrote without its tenant in the last {hours} hours (its log names the job): keep"
        f" JOBTRAIL_LEGACY_KEYS=on until {hours} hours after the last such worker{never}"
    )

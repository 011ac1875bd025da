"""The count of old keys, which name no tenant, for `jobtrail doctor --legacy`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import redis

from ops.doctor.finding import Finding
from streams.connection import connect
from streams.discovery import COUNT, START
from streams.keys import LEGACY_PATTERN
from streams.settings import Settings
from streams.wire import ask, checked, round_trip

TTL_SECONDS = 21_600
"""The time to live that old workers give their keys at every write."""

_NO_TTL = -1
"""The answer of TTL for a key without a time to live."""


class OldKeys(NamedTuple):
    """The old keys that still exist."""

    jobs: int
    videos: int
    endless: int
    """Keys among them without a time to live, which never expire."""
    seconds_since_write: int | None
    """Seconds since the last write, from the time to live; None if no key has one."""

    @property
    def left(self) -> int:
        """The number of all old keys."""
        return self.jobs + self.videos


def old_keys(client: redis.Redis) -> OldKeys:
    """Count the old keys with SCAN, which does not block the server.

    Raises:
        redis.RedisError: Redis is unavailable or refuses the command.
    """
    lives: dict[bytes, int] = {}
    for names in _scan(client):
        lives.update(zip(names, checked(round_trip(client, _ttl_commands(names))), strict=True))
    videos = sum(name.startswith(b"job:video:") for name in lives)
    ending = [life for life in lives.values() if life >= 0]
    endless = sum(life == _NO_TTL for life in lives.values())
    since = max(0, TTL_SECONDS - max(ending)) if ending else None
    return OldKeys(len(lives) - videos, videos, endless, since)


def examine_legacy(settings: Settings) -> Finding:
    """Return whether reading the old keys can be switched off.

    Raises:
        SettingsError, InvalidUrl: the URL of Redis is not set or not valid.
        redis.RedisError: Redis is unavailable or refuses the command.
    """
    with connect(settings.require_redis_url()) as client:
        keys = old_keys(client)
    switched_on = settings.legacy_keys == "on"
    if not keys.left:
        advice = "no worker writes them: unset JOBTRAIL_LEGACY_KEYS" if switched_on else ""
        return Finding("old keys", ok=True, found="none left", advice=advice, warns=switched_on)
    return Finding("old keys", ok=False, found=_described(keys), advice=_advice(keys))


def _scan(client: redis.Redis) -> Iterator[list[bytes]]:
    cursor = START
    while True:
        what = ("MATCH", LEGACY_PATTERN, "COUNT", COUNT, "TYPE", "string")
        cursor, names = ask(client, "SCAN", cursor, *what)
        if names:
            yield names
        if cursor == START:
            return


def _ttl_commands(names: list[bytes]) -> list[tuple[str, bytes]]:
    return [("TTL", name) for name in names]


def _described(keys: OldKeys) -> str:
    found = f"{keys.left} left ({keys.jobs} of jobs, {keys.videos} of videos)"
    if keys.seconds_since_write is not None:
        found += f", the latest written about {keys.seconds_since_write} s ago"
    return found


def _advice(keys: OldKeys) -> str:
    if keys.endless == keys.left:
        return "they never expire and no worker writes them: delete them, then switch off"
    return (
        "not yet: some worker still writes without its tenant (its log names the job); keep "
        f"JOBTRAIL_LEGACY_KEYS=on, or wait {TTL_SECONDS} s after the last such worker"
    )

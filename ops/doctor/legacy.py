"""Old keys, which named no tenant: how many are left, and whether they may be switched off."""

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
"""What old workers gave their keys at every write."""

_NO_END = -1


class OldKeys(NamedTuple):
    """What is left of the old keys."""

    jobs: int
    videos: int
    endless: int
    """Of these, without a time to live: they never go by themselves."""
    seconds_since_write: int | None
    """Since the latest was written, as its time to live tells; None where none has one."""

    @property
    def left(self) -> int:
        """All of them."""
        return self.jobs + self.videos


def old_keys(client: redis.Redis) -> OldKeys:
    """Count the old keys, a bounded slice of the keyspace at a time.

    Raises:
        redis.RedisError: Redis is away or refuses.
    """
    lives: dict[bytes, int] = {}
    for names in _scan(client):
        lives.update(zip(names, checked(round_trip(client, _ask_lives(names))), strict=True))
    videos = sum(name.startswith(b"job:video:") for name in lives)
    ending = [life for life in lives.values() if life >= 0]
    endless = sum(life == _NO_END for life in lives.values())
    since = max(0, TTL_SECONDS - max(ending)) if ending else None
    return OldKeys(len(lives) - videos, videos, endless, since)


def examine_legacy(settings: Settings) -> Finding:
    """Say whether reading the old keys may be switched off; raises as `old_keys` and `connect`."""
    with connect(settings.require_redis_url()) as client:
        keys = old_keys(client)
    switched_on = settings.legacy_keys == "on"
    if not keys.left:
        advice = "nobody writes them: unset JOBTRAIL_LEGACY_KEYS" if switched_on else ""
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


def _ask_lives(names: list[bytes]) -> list[tuple[str, bytes]]:
    return [("TTL", name) for name in names]


def _described(keys: OldKeys) -> str:
    found = f"{keys.left} left ({keys.jobs} of jobs, {keys.videos} of videos)"
    if keys.seconds_since_write is not None:
        found += f", the latest written about {keys.seconds_since_write} s ago"
    return found


def _advice(keys: OldKeys) -> str:
    if keys.endless == keys.left:
        return "they have no end and nobody writes them: delete them, then switch off"
    return (
        "not yet: some worker still writes without its tenant (its log names the job); keep "
        f"JOBTRAIL_LEGACY_KEYS=on, or wait {TTL_SECONDS} s after the last such worker"
    )

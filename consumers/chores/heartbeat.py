"""Heartbeats: every consumer says who it is, and adds what it applied since the last one."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from typing import Any

import orjson
import redis

from consumers.chores.activity import Tally
from consumers.chores.kept import Beat, read_back
from consumers.round_trips import round_trips
from streams.keys import Keys
from streams.wire import Command, ask, checked

FORGET_MS = 600_000
"""A consumer that has been silent for so long is gone and not shown any more."""


class Heartbeat:
    """One consumer's."""

    def __init__(
        self, client: redis.Redis, group: str, consumer: str, tally: Tally, keys: Keys
    ) -> None:
        self._client = client
        self._group = group
        self._consumer = consumer
        self._tally = tally
        self._keys = keys
        self._since = time.time_ns() // 1_000_000

    def beat(self, now: int) -> None:
        """Say that we are there, and what we applied."""
        checked(round_trips(self._client, self._beat(now)))
        self._tally.told()

    def stop(self) -> None:
        """Take the name off the list: it ends as it should."""
        ask(self._client, "HDEL", self._keys.beats(), _field(self._group, self._consumer))

    def _beat(self, now: int) -> Iterator[Command]:
        facts = {
            "group": self._group,
            "name": self._consumer,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "since": self._since,
            "beat": now,
            "applied": self._tally.total,
        }
        yield "HSET", self._keys.beats(), _field(self._group, self._consumer), orjson.dumps(facts)
        if news := self._tally.total - self._tally.reported:
            yield "HINCRBY", self._keys.applied(), self._group, news
        activity = self._keys.activity(self._group)
        for tenant, count in self._tally.tenants.items():
            yield "ZINCRBY", activity, count, tenant


def heartbeats(client: redis.Redis, keys: Keys) -> list[dict[str, Any]]:
    """Return what each consumer last wrote of itself."""
    texts = ask(client, "HVALS", keys.beats())
    return [beat.model_dump() for beat in read_back(Beat, texts)]


def forget_silent(client: redis.Redis, keys: Keys, now: int) -> None:
    """Take consumers off the list that are gone."""
    silent = [
        _field(each["group"], each["name"])
        for each in heartbeats(client, keys)
        if now - each["beat"] > FORGET_MS
    ]
    if silent:
        ask(client, "HDEL", keys.beats(), *silent)


def _field(group: str, consumer: str) -> str:
    return f"{group}/{consumer}"

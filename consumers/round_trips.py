"""Asking the server for much at once, without holding it or its replies up for long."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

import redis

from streams.wire import Command, ask, round_trip

AT_ONCE = 1_000
"""Commands in one round trip."""


def round_trips(client: redis.Redis, commands: Iterable[Command]) -> list[Any]:
    """Send commands, `AT_ONCE` in one round trip; a refused command's reply is its error.

    Raises:
        redis.ConnectionError, redis.TimeoutError: some may have been carried out.
    """
    remaining, replies = iter(commands), list[Any]()
    while some := list(islice(remaining, AT_ONCE)):
        replies += round_trip(client, some)
    return replies


def server_ms(client: redis.Redis) -> int:
    """Give the server's clock, in milliseconds since 1970: hosts need not agree on theirs."""
    seconds, micros = ask(client, "TIME")
    return int(seconds) * 1000 + int(micros) // 1000


def encodable(text: str) -> str:
    r"""Return a name that any encoder takes: bytes in another encoding are shown as \xff."""
    return text.encode(errors="surrogateescape").decode(errors="backslashreplace")


def text_of(raw: bytes) -> str:
    """Give a name as text, also one in another encoding: it goes back byte for byte."""
    return raw.decode(errors="surrogateescape")

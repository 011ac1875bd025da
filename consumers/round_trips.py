"""Round trips to Redis with many commands, the server's clock, and names that any encoder accepts.

Used by modules of `consumers` and of `ops`.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from itertools import islice
from typing import Any

import redis

from streams.cluster import Cluster
from streams.wire import Command, ask, checked, round_trip

AT_ONCE = 1_000
"""The number of commands in one round trip, so that none occupies the server for long."""


def round_trips(
    client: redis.Redis, commands: Iterable[Command], *, partial: bool = False
) -> list[Any]:
    """Send commands, `AT_ONCE` in one round trip; a refused command's reply is its error.

    With `partial`, so is that of a lost node of a cluster.

    Raises:
        redis.ConnectionError, redis.TimeoutError: the server may have run some of the commands.
    """
    remaining, replies = iter(commands), list[Any]()
    while some := list(islice(remaining, AT_ONCE)):
        replies += round_trip(client, some, partial=partial)
    return replies


def server_ms(client: redis.Redis) -> int:
    """Return the server's clock in milliseconds since 1970; the clocks of hosts may differ.

    Raises:
        redis.RedisError: Redis is unavailable or refuses the command.
    """
    seconds, micros = _time(client)
    return int(seconds) * 1000 + int(micros) // 1000


def _time(client: redis.Redis) -> Any:
    """Return the reply to TIME; on a cluster, of the first primary that answers."""
    if isinstance(client, Cluster):
        for address in client.primaries():
            with suppress(redis.ConnectionError, redis.TimeoutError):
                return checked(client.ask_node(address, [("TIME",)]))[0]
    return ask(client, "TIME")


def encodable(text: str) -> str:
    r"""Return a name that any encoder accepts: bytes in another encoding become \xff."""
    return text.encode(errors="surrogateescape").decode(errors="backslashreplace")

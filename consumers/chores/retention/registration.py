"""Registered groups as operators use them: report what each holds back, and deregister one.

The command `jobtrail groups` and the doctor are the users.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import redis
import structlog

from consumers.chores.retention.trimming import Trimmed
from consumers.delivery import group_commands
from consumers.delivery.group_states import group_states, registered_groups
from consumers.delivery.ready import queue_keys
from consumers.round_trips import round_trips
from streams.discovery import COUNT, tenants
from streams.keys import Keys
from streams.wire import as_bytes, ask

_LOG = structlog.get_logger(__name__)

ALIVE_SECONDS = 30.0
"""The idle time on a stream up to which a consumer counts as alive."""


class ConsumersAlive(Exception):
    """The group still has consumers: stop them, or use force."""


class GroupReport(NamedTuple):
    """A registered group, over all streams."""

    group: str
    streams: int
    """The number of streams on which the group exists."""
    pending: int
    consumers_alive: int
    holds_back: int
    """The number of streams that the group holds back, as a dry run found."""


def deregister(
    client: redis.Redis, group: str, *, force: bool = False, keys: Keys | None = None
) -> int:
    """Delete a group on every stream and deregister it; return the number of those streams.

    Where it is interrupted the group is still registered, and a second call finishes it.

    Raises:
        ConsumersAlive: the group has consumers, which would register it again.
        redis.RedisError: Redis is away or refuses.
    """
    keys = keys or Keys()
    streams = _all_streams(client, keys)
    alive = 0 if force else _consumers_alive(client, keys, group, streams)
    if alive:
        raise ConsumersAlive(f"group {group} has {alive} consumers alive: stop them first")
    replies = round_trips(client, (group_commands.destroy(stream, group) for stream in streams))
    destroyed = sum(reply for reply in replies if isinstance(reply, int))
    ask(client, "SREM", keys.groups(), group)
    ask(client, "DEL", *queue_keys(keys, group))
    _LOG.warning("group_deregistered", group=group, streams=destroyed)
    return destroyed


def group_reports(client: redis.Redis, keys: Keys, held: Sequence[Trimmed]) -> list[GroupReport]:
    """Return the reports of the registered groups; `held` are the results of a trim.

    Raises:
        redis.RedisError: Redis is away or refuses.
    """
    streams = _all_streams(client, keys)
    existing, pending = Counter[str](), Counter[str]()
    for states in group_states(client, streams):
        for state in states:
            existing[state.name] += 1
            pending[state.name] += state.pending
    return [
        GroupReport(
            group,
            existing[group],
            pending[group],
            _consumers_alive(client, keys, group, streams),
            sum(group in one.held_by for one in held),
        )
        for group in registered_groups(client, keys)
    ]


def _consumers_alive(client: redis.Redis, keys: Keys, group: str, streams: Sequence[bytes]) -> int:
    """Return the number of consumers that used a stream recently or have reported as alive."""
    names = set[bytes]()
    commands = (group_commands.list_consumers(stream, group) for stream in streams)
    for reply in round_trips(client, commands):
        rows: Any = () if isinstance(reply, redis.ResponseError) else reply
        for row in rows:
            facts = dict(zip(row[::2], row[1::2], strict=True))
            if facts[b"idle"] < ALIVE_SECONDS * 1000:
                names.add(facts[b"name"])
    prefix = keys.consumer(group, "")
    found = client.scan_iter(match=f"{prefix}*", count=COUNT)
    return len(names | {bytes(name).removeprefix(prefix.encode()) for name in found})


def _all_streams(client: redis.Redis, keys: Keys) -> list[bytes]:
    return [as_bytes(keys.stream(tenant)) for tenant in tenants(client, keys)]

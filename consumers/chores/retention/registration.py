"""Registered groups: reports about each group, and removal of a group.

A group *holds back* a stream if trimming stops at an entry that the group has not acknowledged
(`consumers.chores.retention`). Used by `ops.commands.retention` (`jobtrail groups`) and by
`ops.doctor.stream_checks`, and also by `ops.tasks.group_registration`.
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
from consumers.faults import is_of_key
from consumers.round_trips import round_trips
from streams.cluster import keys_of
from streams.discovery import COUNT, scan, scan_all, tenants
from streams.keys import Keys
from streams.wire import as_bytes, ask, checked

_LOG = structlog.get_logger(__name__)

ALIVE_SECONDS = 30.0
"""The idle time on a stream up to which a consumer counts as alive."""

_NO_KEY = "requires the key to exist"
"""A part of the error of XGROUP for a key that does not exist."""


class ConsumersAlive(Exception):
    """The group still has consumers that are alive: stop them, or call `deregister` with force."""


class GroupReport(NamedTuple):
    """A registered group, over all streams."""

    group: str
    streams: int
    """The number of streams on which the group exists."""
    pending: int
    consumers_alive: int
    holds_back: int
    """The number of streams that the group holds back."""


def deregister(
    client: redis.Redis, group: str, *, force: bool = False, keys: Keys | None = None
) -> int:
    """Delete a group on every stream and deregister it; return the number of those streams.

    After an error or an interruption the group is still registered, and a second call finishes.

    Args:
        client: a client of the Redis with the streams.
        group: the group's name.
        force: whether to delete the group although it has consumers that are alive. Those create
            it again, and then read all streams from the beginning.
        keys: the names of keys.

    Raises:
        ConsumersAlive: the group has consumers that are alive, and `force` is not set.
        redis.RedisError: Redis is unavailable or refuses a command.
    """
    keys = keys or keys_of(client)
    streams = _all_streams(client, keys)
    alive = 0 if force else _consumers_alive(client, keys, group, streams)
    if alive:
        noun = "consumer that is" if alive == 1 else "consumers that are"
        raise ConsumersAlive(f"group {group} has {alive} {noun} alive: stop all of them first")
    replies = round_trips(client, (group_commands.destroy(stream, group) for stream in streams))
    destroyed = sum(map(_destroyed, replies))
    ask(client, "SREM", keys.groups(), group)
    checked(round_trips(client, [("DEL", name) for name in queue_keys(keys, group)]))
    _LOG.warning("group_deregistered", group=group, streams=destroyed)
    return destroyed


def _destroyed(reply: object) -> int:
    """Return the number of groups that XGROUP DESTROY has deleted: 0 for a key without a stream.

    Raises:
        redis.RedisError: the reply is another error, and the group may still exist.
    """
    if isinstance(reply, redis.ResponseError) and (is_of_key(reply) or _NO_KEY in str(reply)):
        return 0
    return int(checked([reply])[0])


def group_reports(client: redis.Redis, keys: Keys, trims: Sequence[Trimmed]) -> list[GroupReport]:
    """Return the reports of the registered groups.

    Args:
        client: a client of the Redis with the streams.
        keys: the names of keys.
        trims: the results of a dry run of `trim` for all streams.

    Raises:
        redis.RedisError: Redis is unavailable or refuses the command.
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
            sum(group in one.held_by for one in trims),
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
    options = ("MATCH", f"{prefix}*", "COUNT", COUNT)
    for found in scan_all(lambda cursor: scan(client, cursor, *options)):
        names.update(name.removeprefix(prefix.encode()) for name in found)
    return len(names)


def _all_streams(client: redis.Redis, keys: Keys) -> list[bytes]:
    return [as_bytes(keys.stream(tenant)) for tenant in tenants(client, keys)]

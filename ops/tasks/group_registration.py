"""Deregistering of consumer groups, for `jobtrail groups`. Used by `ops.commands.retention`."""

from __future__ import annotations

from consumers.chores.retention import registration
from consumers.delivery.group_states import registered_groups
from ops.errors import CommandError
from ops.tasks.audit import Warn, recorded
from streams.cluster import keys_of
from streams.connection import connect
from streams.settings import Settings


def deregister(settings: Settings, group: str, warn: Warn, *, force: bool) -> int:
    """Remove a group, and record that; return the number of streams that had it.

    Raises:
        CommandError: the group is not registered, or has consumers that are alive.
        redis.RedisError: Redis is unavailable or refuses the command.
    """
    client = connect(settings.require_redis_url())
    known = registered_groups(client, keys_of(client))
    if group not in known:
        raise CommandError(f"no group {group!r} is registered: {', '.join(known) or 'none is'}")
    target = {"group": group, "force": force}
    with recorded(settings, "groups deregister", None, target, warn) as record:
        try:
            streams = registration.deregister(client, group, force=force)
        except registration.ConsumersAlive as error:
            raise CommandError(f"{error}, or pass --force") from None
        record.done(changed=True, streams=streams)
    return streams

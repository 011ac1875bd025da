"""Looking at consumer groups."""

from __future__ import annotations

from typing import Any

import redis


def group_info(client: redis.Redis, tenant: str, group: str) -> dict[str, Any] | None:
    """Give what the server says of a group, or None before it is made."""
    try:
        groups = client.xinfo_groups(f"tenant:{tenant}:events")
    except redis.ResponseError:
        return None
    return {row["name"].decode(): row for row in groups}.get(group)


def pending(client: redis.Redis, tenant: str, group: str) -> int | None:
    """Give how many deliveries are not acknowledged."""
    info = group_info(client, tenant, group)
    return None if info is None else int(info["pending"])


def settled(client: redis.Redis, tenant: str, *groups: str) -> bool:
    """Tell whether everything was delivered and acknowledged."""
    infos = [group_info(client, tenant, group) for group in groups]
    return all(info is not None and info["pending"] == info["lag"] == 0 for info in infos)


def entries(client: redis.Redis, stream: str) -> list[dict[str, bytes]]:
    """Give a stream's entries, their fields' names as text."""
    found: Any = client.xrange(stream)
    return [{name.decode(): value for name, value in fields.items()} for _, fields in found]

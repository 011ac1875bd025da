"""A wait until consumer processes have finished."""

from __future__ import annotations

from collections.abc import Sequence

import redis

from benchmarks.servers import wait_until
from benchmarks.workload import CHUNK, KEYS
from consumers.delivery.group_states import group_states
from streams.entry_ids import of_reply
from streams.wire import checked, round_trip


def wait_until_drained(
    client: redis.Redis, group: str, tenants: Sequence[str], seconds: float
) -> None:
    """Wait until the group has acknowledged all entries of these tenants' streams."""
    waiting = list(tenants)

    def none_left() -> bool:
        while waiting and _drained(client, group, waiting[:CHUNK]):
            del waiting[:CHUNK]
        return not waiting

    wait_until(none_left, f"{group} was drained", seconds)


def _drained(client: redis.Redis, group: str, tenants: Sequence[str]) -> bool:
    names = [KEYS.stream(tenant).encode() for tenant in tenants]
    newest = checked(
        round_trip(client, [("XREVRANGE", name, "+", "-", "COUNT", 1) for name in names])
    )
    return all(
        any(
            state.name == group
            and not state.pending
            and state.last_delivered == of_reply(reply[0][0])
            for state in states
        )
        for states, reply in zip(group_states(client, names), newest, strict=True)
    )

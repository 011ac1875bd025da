"""The division of the tenants among the processes of `replay` and `verify`.

Used by `ops.tasks.replay.replay` and `ops.tasks.replay.verification`.
"""

from __future__ import annotations

import os

from ops.tasks.replay.scope import Scope
from ops.tasks.replay.servers import one_line_errors, open_database
from projections.replay.tenant_shares import ALL, Share, divided, events_by_tenant
from streams.connection import connect

EVENTS_A_PROCESS = 50_000
"""The events of all tenants for which it is worth starting one more process."""
MOST_PROCESSES = 4
"""The limit if the operator chose no number: each process takes two or three connections to
PostgreSQL."""


def tenant_shares(scope: Scope, processes: int | None) -> list[Share]:
    """Return the shares of the tenants, one for each process.

    A single share, of all tenants, means that this process does everything itself; so it is for one
    tenant. Otherwise the events of each tenant are counted in the streams and the history.

    Args:
        scope: the tenants, events and servers of the command.
        processes: the number of processes, or None for as many as save time. There are fewer shares
            if there are fewer tenants.

    Raises:
        SettingsError: a server's URL is missing or not valid.
        CommandError, redis.RedisError, psycopg.Error: the events cannot be counted.
    """
    cores = _cores()
    if scope.tenant is not None or processes == 1 or (processes is None and cores == 1):
        return [ALL]
    client = connect(scope.settings.require_redis_url())
    with client, one_line_errors(), open_database(scope.settings) as connection:
        counts = events_by_tenant(client, connection)
    useful = sum(counts.values()) // EVENTS_A_PROCESS
    return divided(counts, processes or max(1, min(cores, MOST_PROCESSES, useful)))


def _cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS

"""The first step of a replay, reading the streams, and its dry run."""

from __future__ import annotations

from ops.tasks.replay.outcomes import DryRun
from ops.tasks.replay.scope import Scope, unknown_tenant
from ops.tasks.replay.servers import Servers, open_servers


def read_streams(scope: Scope, servers: Servers) -> bool:
    """Read the streams and select the jobs of the scope.

    Returns:
        True if the tenant of the scope has no events at all.
    """
    servers.sources.read_logs()
    unknown = scope.tenant is not None and not servers.sources.events()
    servers.sources.narrow(scope.entries)
    return unknown


def dry_run(scope: Scope) -> DryRun:
    """Count what a replay would read; nothing is changed.

    Raises:
        CommandError: the tenant has no events, or the database lacks migrations.
        redis.RedisError, psycopg.Error: a server is away.
    """
    with open_servers(scope) as servers:
        unknown = read_streams(scope, servers)
        if unknown and scope.tenant is not None:
            raise unknown_tenant(scope.tenant)
        held, tail, jobs = servers.sources.size()
    return DryRun(scope.projection, jobs, held, tail)

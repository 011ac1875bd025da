"""The first step of a replay, reading the streams, and its dry run."""

from __future__ import annotations

from ops.tasks.replay.outcomes import DryRun
from ops.tasks.replay.scope import Scope, unknown_tenant
from ops.tasks.replay.servers import open_replay
from projections.replay.events.sources import Sources


def read_streams(scope: Scope, sources: Sources) -> bool:
    """Read the streams and select the jobs of the scope.

    Returns:
        True if the tenant of the scope has no events at all.
    """
    sources.read_streams()
    unknown = scope.tenant is not None and not sources.count_events()
    sources.narrow(scope.entries)
    return unknown


def dry_run(scope: Scope) -> DryRun:
    """Count what a replay would read; nothing is changed.

    Raises:
        CommandError: the tenant has no events, or the database lacks migrations.
        redis.RedisError, psycopg.Error: a server is away.
    """
    with open_replay(scope) as replay:
        unknown = read_streams(scope, replay.sources)
        if unknown and scope.tenant is not None:
            raise unknown_tenant(scope.tenant)
        held, tail, jobs = replay.sources.counts()
    return DryRun(scope.projection, jobs, held, tail)

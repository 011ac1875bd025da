"""The first step of a replay, reading the streams, and its dry run.

Used by `ops.tasks.replay.replay` and `ops.commands.replay`.
"""

from __future__ import annotations

from ops.tasks.replay.outcomes import DryRun
from ops.tasks.replay.scope import Scope, unknown_tenant_error
from ops.tasks.replay.servers import open_replay
from projections.replay.events.sources import Sources


def read_streams(scope: Scope, sources: Sources) -> bool:
    """Read the streams, and limit the sources to the jobs with an event in the scope's range.

    Returns:
        False if the scope has a tenant that has no events at all, True otherwise.
    """
    sources.read_streams()
    known = scope.tenant is None or bool(sources.count_events())
    sources.narrow(scope.entry_range)
    return known


def dry_run(scope: Scope) -> DryRun:
    """Count what a replay would read; nothing is changed.

    Raises:
        CommandError: the tenant has no events, or the database lacks migrations.
        redis.RedisError, psycopg.Error: a server is unavailable.
    """
    with open_replay(scope) as replay:
        known = read_streams(scope, replay.sources)
        if scope.tenant is not None and not known:
            raise unknown_tenant_error(scope.tenant)
        in_history, in_streams_only, jobs = replay.sources.counts()
    return DryRun(scope.projection, jobs, in_history, in_streams_only)

"""`replay rows --reset`: all rows are replaced in one transaction, so in one process."""

from __future__ import annotations

import time
from collections.abc import Callable

from ops.tasks.progress import Progress
from ops.tasks.replay.outcomes import ReplayOutcome
from ops.tasks.replay.reading import read_streams
from ops.tasks.replay.scope import WAITING, Scope
from ops.tasks.replay.servers import open_servers
from projections.replay.reset import RowsReset


def reset_rows(scope: Scope, progress: Progress, notify: Callable[[str], None]) -> ReplayOutcome:
    """Prepare the rows that differ from the events, and replace them all at once.

    `notify` is called with a line of text where other sessions hold the rows.

    Raises:
        CommandError: the rows are in use, or the database lacks migrations.
        redis.RedisError, psycopg.Error: a server is away; nothing was changed.
    """
    started = time.monotonic()
    events = jobs = 0
    with open_servers(scope) as servers:
        unknown = read_streams(scope, servers)
        if scope.counted:
            progress.expect(servers.sources.events())
        rebuild = RowsReset(servers.sources, servers.comparison)
        for step in rebuild.prepare():
            events, jobs = events + step.events, jobs + step.jobs
            progress.advance(step.events)
        changed = rebuild.swap(lambda: notify(WAITING))
    return ReplayOutcome(
        projection="rows",
        events=events,
        jobs=jobs,
        kept=changed,
        skipped=servers.sources.skipped,
        seconds=round(time.monotonic() - started, 3),
        unknown=unknown,
        changed=changed,
    )

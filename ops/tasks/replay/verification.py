"""Verifying: shares of the tenants in parallel; each difference is passed on as it is found.

Used by `ops.commands.verify`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from ops.errors import CommandError
from ops.tasks.parallel import Send, run_parts
from ops.tasks.progress import Progress
from ops.tasks.replay.messages import Expected, FoundDifference, ShareDone
from ops.tasks.replay.scope import Scope
from ops.tasks.replay.servers import open_replay
from ops.tasks.replay.shares import tenant_shares
from projections.registry.definition import Checked, Replay
from projections.replay.served.facts import NOTHING, Difference
from projections.replay.tenant_shares import Share


def verify_shares(
    scope: Scope,
    processes: int | None,
    progress: Progress,
    on_difference: Callable[[FoundDifference], None],
) -> int:
    """Compare everything in the scope with the projection; return the number of jobs.

    Raises:
        CommandError: the projection cannot be verified, a process failed, or the database lacks
            migrations.
        redis.RedisError, psycopg.Error: a server is unavailable.
    """
    verified = 0

    def receive(_process: int, message: object) -> None:
        nonlocal verified
        if isinstance(message, Expected):
            progress.expect(message.events)
        elif isinstance(message, FoundDifference):
            on_difference(message)
        elif isinstance(message, ShareDone):
            verified += message.jobs
        elif isinstance(message, int):
            progress.advance(message)

    _verify(scope)  # raises before anything is connected
    processes = processes if scope.registered().parallel else 1
    run_parts(tenant_shares(scope, processes), partial(_verify_share, scope), receive)
    return verified


def _verify_share(scope: Scope, share: Share, send: Send) -> None:
    """Verify a share; send its differences and how many events are done."""
    verified = 0
    with open_replay(scope, share) as replay:
        replay.sources.read_streams()
        if scope.count_first:
            send(Expected(replay.sources.count_events()))
        for found in _verify(scope)(replay._replace(on_progress=send)):
            if isinstance(found, Checked):
                verified += found.jobs
            else:
                send(FoundDifference(_facts(found), str(found)))
        send(ShareDone(jobs=verified))


def _verify(scope: Scope) -> Callable[[Replay], Iterator[Difference | Checked]]:
    verify = scope.registered().verify
    if verify is None:
        raise CommandError(f"the projection {scope.projection} cannot be verified")
    return verify


def _facts(difference: Difference) -> dict[str, Any]:
    job, field, served, folded = difference
    sides = {
        name: None if value is NOTHING else value
        for name, value in (("served", served), ("folded", folded))
    }
    return {**job._asdict(), "field": field, **sides}

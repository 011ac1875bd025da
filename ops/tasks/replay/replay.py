"""Replaying a scope: shares of its tenants in parallel, from where an interrupted run stopped."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from functools import partial

from ops.tasks.parallel import Send, run_parts
from ops.tasks.progress import Progress
from ops.tasks.replay.messages import Expected, ShareDone
from ops.tasks.replay.outcomes import ReplayOutcome
from ops.tasks.replay.reading import read_streams
from ops.tasks.replay.rows_reset import reset_rows
from ops.tasks.replay.scope import Scope, unknown_tenant
from ops.tasks.replay.servers import (
    Servers,
    open_database,
    open_servers,
    served_documents,
    status_options,
)
from ops.tasks.replay.shares import tenant_shares
from projections.replay.checkpoint import Checkpoint, Standing
from projections.replay.repair import RowsRepair, StatusRepair, Step, repair
from projections.replay.replaced_states import KeptDocuments
from projections.replay.reset import StatusReset, reset_status
from projections.status.writer import StatusCache
from streams.keys import JobKey


def checkpoint_of(scope: Scope, bounds: Mapping[str, str | None]) -> Checkpoint:
    """Return the checkpoint of a command; `bounds` has the texts of `since` and `until`."""
    command = {
        "projection": scope.projection,
        "tenant": scope.tenant,
        "reset": str(scope.reset),
        **bounds,
    }
    return Checkpoint(scope.settings.data_dir, command)


def replay_scope(
    scope: Scope,
    checkpoint: Checkpoint,
    processes: int | None,
    progress: Progress,
    notify: Callable[[str], None],
) -> ReplayOutcome:
    """Replay everything in the scope, in several processes where that saves time.

    `processes` is their number, or None for as many as save time. `notify` is called with a line of
    text where an earlier run is continued or other sessions hold the rows.

    Raises:
        CommandError: a process failed, or the tenant has no events. After a failure the same
            command continues from the last finished job.
        redis.RedisError, psycopg.Error: a server is away; likewise.
    """
    if scope.reset and scope.projection == "rows":
        outcome = reset_rows(scope, progress, notify)
    else:
        outcome = _replay_shares(scope, checkpoint, processes, progress, notify)
    if scope.tenant is not None and outcome.unknown and not outcome.kept:
        raise unknown_tenant(scope.tenant)
    return outcome


def _replay_shares(
    scope: Scope,
    checkpoint: Checkpoint,
    processes: int | None,
    progress: Progress,
    notify: Callable[[str], None],
) -> ReplayOutcome:
    shares = checkpoint.read()
    for share in shares:
        if share.finished is not None and not share.done:
            notify(f"going on after {' '.join(share.finished)} (--restart begins again)")
    run = _Run(
        shares or [Standing(share) for share in tenant_shares(scope, processes)],
        checkpoint,
        progress,
    )
    run_parts(run.unfinished(), partial(_replay_share, scope), run.receive)
    checkpoint.forget()
    return run.outcome(scope.projection)


class _Run:
    """The sum of what the processes have done, saved to the checkpoint after each step."""

    def __init__(self, shares: list[Standing], checkpoint: Checkpoint, progress: Progress) -> None:
        self._shares = shares
        self._checkpoint = checkpoint
        self._progress = progress
        self._open = [index for index, share in enumerate(shares) if not share.done]
        self._started = time.monotonic()
        self._totals = Counter[str]()
        self._unknown = False

    def unfinished(self) -> list[Standing]:
        """Return the shares that are not done, in the order of the processes."""
        return [self._shares[index] for index in self._open]

    def receive(self, process: int, message: object) -> None:
        """Add a message of a process."""
        index = self._open[process]
        if isinstance(message, Expected):
            self._progress.expect(message.events)
        elif isinstance(message, Step):
            self._add_step(index, message)
        elif isinstance(message, ShareDone):
            self._totals.update(kept=message.kept, skipped=message.skipped)
            self._unknown = message.unknown
            self._save(index, self._shares[index]._replace(done=True))

    def outcome(self, projection: str) -> ReplayOutcome:
        """Return the result, once all processes have ended."""
        return ReplayOutcome(
            projection=projection,
            events=self._totals["events"],
            jobs=self._totals["jobs"],
            kept=self._totals["kept"],
            skipped=self._totals["skipped"],
            seconds=round(time.monotonic() - self._started, 3),
            unknown=self._unknown,
            left_expired=self._totals["expired"],
        )

    def _add_step(self, index: int, step: Step) -> None:
        self._totals.update(events=step.events, jobs=step.jobs, expired=step.expired)
        if step.last is not None:
            self._save(index, self._shares[index]._replace(finished=step.last))
        self._progress.advance(step.events)

    def _save(self, index: int, share: Standing) -> None:
        self._shares[index] = share
        self._checkpoint.write(self._shares)


def _replay_share(scope: Scope, share: Standing, send: Send) -> None:
    """Replay a share from its last finished job, and send each step."""
    with open_servers(scope, share.share) as servers:
        unknown = read_streams(scope, servers)
        if scope.counted:
            send(Expected(servers.sources.events()))
        with closing(KeptDocuments(lambda: open_database(servers.settings))) as kept:
            for step in _steps(scope, servers, share.finished, kept):
                send(step)
        send(ShareDone(kept=kept.states, skipped=servers.sources.skipped, unknown=unknown))


def _steps(
    scope: Scope, servers: Servers, after: JobKey | None, kept: KeptDocuments
) -> Iterator[Step]:
    """Return the steps of the scope's replay; rows are reset elsewhere (`rows_reset`)."""
    if scope.projection == "rows":
        return _repair_rows(servers, after)
    options = status_options(servers.settings)
    if scope.reset:
        writer = StatusReset(servers.client, kept, **options)
        return reset_status(servers.sources, writer, servers.comparison, after)
    documents = StatusRepair(
        StatusCache(servers.client, **options), served_documents(servers.client, servers.settings)
    )
    return repair(servers.sources, documents, after)


def _repair_rows(servers: Servers, after: JobKey | None) -> Iterator[Step]:
    with closing(RowsRepair(lambda: open_database(servers.settings))) as writer:
        yield from repair(servers.sources, writer, after)

"""Replaying a scope: shares of its tenants in parallel, from where an interrupted run stopped.

Used by `ops.commands.replay` and `ops.tasks.replay.recording`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial

from ops.errors import CommandError
from ops.tasks.parallel import Send, run_parts
from ops.tasks.progress import Progress
from ops.tasks.replay.messages import Expected, ShareDone
from ops.tasks.replay.outcomes import ReplayOutcome
from ops.tasks.replay.reading import read_streams
from ops.tasks.replay.scope import WAITING, Scope, unknown_tenant_error
from ops.tasks.replay.servers import open_replay
from ops.tasks.replay.shares import tenant_shares
from projections.replay.checkpoint import Checkpoint, ShareProgress
from projections.replay.step import ReplayStep


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
    """Replay everything in the scope, in several processes if that saves time.

    `processes` is their number, or None for as many as save time; an earlier run is continued with
    its own number. `notify` is called with a line of text for each share of an earlier run that is
    continued, and if other sessions hold the rows.

    Raises:
        CommandError: the projection cannot be reset, a process failed, or the tenant has no
            events. After a failure the same command continues after the last finished job.
        redis.RedisError, psycopg.Error: a server is unavailable; likewise.
    """
    projection = scope.registered()
    if scope.reset and projection.reset is None:
        raise CommandError(f"the projection {scope.projection} cannot be reset: omit --reset")
    if not (projection.parallel_reset if scope.reset else projection.parallel):
        processes = 1
    outcome = _replay_shares(scope, checkpoint, processes, progress, notify)
    if scope.tenant is not None and outcome.unknown and not outcome.kept:
        raise unknown_tenant_error(scope.tenant)
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
        shares or [ShareProgress(share) for share in tenant_shares(scope, processes)],
        checkpoint,
        progress,
    )
    run_parts(run.unfinished(), partial(_replay_share, scope, notify), run.receive)
    checkpoint.forget()
    return run.outcome(scope.projection)


class _Run:
    """The sum of what the processes have done. The checkpoint gets how far each share is."""

    def __init__(
        self, shares: list[ShareProgress], checkpoint: Checkpoint, progress: Progress
    ) -> None:
        self._shares = shares
        self._checkpoint = checkpoint
        self._progress = progress
        self._open = [index for index, share in enumerate(shares) if not share.done]
        self._started = time.monotonic()
        self._totals = Counter[str]()
        self._changed: int | None = None
        self._unknown = False

    def unfinished(self) -> list[ShareProgress]:
        """Return the shares that are not done, in the order of the processes."""
        return [self._shares[index] for index in self._open]

    def receive(self, process: int, message: object) -> None:
        """Add a message of a process."""
        index = self._open[process]
        if isinstance(message, Expected):
            self._progress.expect(message.events)
        elif isinstance(message, ReplayStep):
            self._add_step(index, message)
        elif isinstance(message, ShareDone):
            self._totals.update(skipped=message.skipped)
            self._unknown = message.unknown
            if len(self._shares) > 1:
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
            left_expired=self._totals["expired"] if self._changed is None else None,
            changed=self._changed,
        )

    def _add_step(self, index: int, step: ReplayStep) -> None:
        self._totals.update(
            events=step.events, jobs=step.jobs, expired=step.expired, kept=step.kept
        )
        if step.changed is not None:
            self._changed = (self._changed or 0) + step.changed
        if step.last is not None:
            self._save(index, self._shares[index]._replace(finished=step.last))
        self._progress.advance(step.events)

    def _save(self, index: int, share: ShareProgress) -> None:
        self._shares[index] = share
        self._checkpoint.write(self._shares)


def _replay_share(
    scope: Scope, notify: Callable[[str], None], share: ShareProgress, send: Send
) -> None:
    """Replay a share after its last finished job, and send each step."""
    with open_replay(scope, share.share, partial(notify, WAITING)) as replay:
        known = read_streams(scope, replay.sources)
        if scope.count_first:
            send(Expected(replay.sources.count_events()))
        for step in scope.registered().steps(replay, share.finished, reset=scope.reset):
            send(step)
        send(ShareDone(skipped=replay.sources.skipped, unknown=not known))

"""Replays, and the removal or return of replaced states, recorded in the audit log.

Used by `ops.commands.replay`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from ops.tasks import audit
from ops.tasks.progress import Progress
from ops.tasks.replay.outcomes import Dropped, PutBack, ReplayOutcome
from ops.tasks.replay.replaced import drop_replaced, restore_replaced
from ops.tasks.replay.replay import replay_scope
from ops.tasks.replay.scope import Scope
from projections.replay.checkpoint import Checkpoint

T = TypeVar("T", ReplayOutcome, Dropped, PutBack)


def recorded(
    scope: Scope,
    bounds: Mapping[str, str | None],
    checkpoint: Checkpoint,
    processes: int | None,
    *,
    progress: Progress,
    warn: audit.Warn,
) -> ReplayOutcome:
    """Replay a scope by `replay_scope`; `bounds` are the texts of the options that narrow it."""

    def work() -> ReplayOutcome:
        return replay_scope(scope, checkpoint, processes, progress, warn)

    # Not `until`, which the console shows as a time.
    target = {"reset": scope.reset, "from": bounds["since"], "to": bounds["until"]}
    return _recorded(scope, "replay", target, work, warn)


def change_replaced(scope: Scope, warn: audit.Warn, *, drop: bool) -> Dropped | PutBack:
    """Drop the states that resets replaced, or restore the rows that the last one replaced."""
    if drop:
        return _recorded(scope, "replay drop-old", {}, lambda: drop_replaced(scope), warn)

    def restore() -> PutBack:
        return restore_replaced(scope, warn)

    return _recorded(scope, "replay restore-old", {}, restore, warn)


def _recorded(
    scope: Scope,
    action: str,
    target: Mapping[str, object],
    work: Callable[[], T],
    warn: audit.Warn,
) -> T:
    warnings: list[str] = []
    target = {"projection": scope.projection, **target}
    with audit.recorded(scope.settings, action, scope.tenant, target, warnings.append) as record:
        outcome = work()
        facts = outcome.facts().items()
        record.done(changed=True, counts={name: n for name, n in facts if isinstance(n, int)})
    # Not if the work failed too: its error is the one line that is printed.
    for warning in warnings:
        warn(warning)
    return outcome

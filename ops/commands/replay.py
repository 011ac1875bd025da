"""The command `jobtrail replay`. Used by `ops.cli`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from ops.addresses import command_settings
from ops.commands.shared_options import AsJson, OneTenant, Processes, Projection
from ops.errors import CommandError
from ops.printing import Outcome, complain, print_outcome

if TYPE_CHECKING:
    from ops.tasks.replay.scope import Scope

Since = Annotated[
    str | None, typer.Option(help="Only jobs with an event from this entry id or time.")
]
Until = Annotated[
    str | None, typer.Option(help="Only jobs with an event up to this entry id or time.")
]
Reset = Annotated[
    bool,
    typer.Option("--reset", help="Overwrite what differs from the events; readers keep reading."),
]
AsDryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print what would be read, and change nothing.")
]
Restart = Annotated[
    bool, typer.Option("--restart", help="Do not continue where an earlier run stopped.")
]
DropOld = Annotated[
    bool, typer.Option("--drop-old", help="Only delete the states that resets replaced.")
]
RestoreOld = Annotated[
    bool,
    typer.Option(
        "--restore-old",
        help="Put back the rows that the last reset replaced, unless they were written since.",
    ),
]


def replay(
    projection: Projection,
    tenant: OneTenant = None,
    *,
    since: Since = None,
    until: Until = None,
    reset: Reset = False,
    dry_run: AsDryRun = False,
    restart: Restart = False,
    drop_old: DropOld = False,
    restore_old: RestoreOld = False,
    processes: Processes = None,
    as_json: AsJson = False,
) -> None:
    """Fold history and streams again into a projection.

    Without --reset, jobs and values that are missing are added. States that are newer than the
    events stay: they may be right if the events are incomplete. --reset overwrites them too, and
    removes jobs that have no events. The states that it replaces are saved in the database until
    --drop-old. A job in the range of --since and --until is folded from all its events.
    """
    from ops.tasks.replay import entry_range, reading, recording  # noqa: PLC0415 - not for help
    from ops.tasks.replay.scope import Scope, check_scope  # noqa: PLC0415

    check_scope(projection, tenant)
    selected = entry_range.entry_range(since, until)
    if reset and selected.narrows:
        raise CommandError("--reset rebuilds everything: omit --since and --until")
    scope = Scope(command_settings(), projection, tenant, reset, selected)
    if drop_old or restore_old:
        others = (selected.narrows, processes is not None, reset, dry_run, restart)
        if any(others) or (drop_old and restore_old):
            raise CommandError("--drop-old and --restore-old go with --tenant and --json only")
        outcome: Outcome = recording.change_replaced(scope, complain, drop=drop_old)
    elif dry_run:
        outcome = reading.dry_run(scope)
    else:
        outcome = _replayed(scope, {"since": since, "until": until}, processes, restart=restart)
    print_outcome(outcome, as_json=as_json)


def _replayed(
    scope: Scope, bounds: Mapping[str, str | None], processes: int | None, *, restart: bool
) -> Outcome:
    """Replay the scope from where an interrupted run stopped, or from the start with `restart`."""
    from ops.progress_lines import event_progress  # noqa: PLC0415 - as in `replay`
    from ops.tasks.replay.recording import recorded  # noqa: PLC0415
    from ops.tasks.replay.replay import checkpoint_of  # noqa: PLC0415

    checkpoint = checkpoint_of(scope, bounds)
    if restart:
        checkpoint.forget()
    with event_progress("replay") as progress:
        scope = scope._replace(count_first=progress.shows_total)
        return recorded(scope, bounds, checkpoint, processes, progress=progress, warn=complain)

"""The command `jobtrail verify`. Used by `ops.cli`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ops.addresses import command_settings
from ops.commands.shared_options import AsJson, OneTenant, Processes, Projection
from ops.errors import CommandError
from ops.printing import print_facts_or_line
from ops.text.plurals import counted

if TYPE_CHECKING:
    from ops.tasks.replay.messages import FoundDifference


def verify(
    projection: Projection,
    tenant: OneTenant = None,
    *,
    processes: Processes = None,
    as_json: AsJson = False,
) -> None:
    """Fold everything again and compare with what is served.

    Exits with status 0 and `verified N jobs`, or with 1 and every difference. Events that a
    consumer has not handled yet are waited for.
    """
    from ops.progress_lines import event_progress  # noqa: PLC0415 - help needs none of it
    from ops.tasks.replay.scope import Scope, check_scope, unknown_tenant_error  # noqa: PLC0415
    from ops.tasks.replay.verification import verify_shares  # noqa: PLC0415

    check_scope(projection, tenant)
    differences = 0

    def print_difference(found: FoundDifference) -> None:
        nonlocal differences
        differences += 1
        print_facts_or_line(found.facts, found.text, as_json=as_json)

    with event_progress("verify") as progress:
        scope = Scope(command_settings(), projection, tenant, count_first=progress.shows_total)
        verified = verify_shares(scope, processes, progress, print_difference)
    if differences:
        raise CommandError(f"{counted(differences, 'difference')} in {counted(verified, 'job')}")
    if tenant is not None and not verified:
        raise unknown_tenant_error(tenant)
    text = f"verified {verified} jobs"  # programs read this line: the same words for one job
    print_facts_or_line({"verified": verified}, text, as_json=as_json)

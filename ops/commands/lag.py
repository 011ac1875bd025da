"""The command `jobtrail lag`. Used by `ops.cli`."""

from __future__ import annotations

from consumers.delivery import lag as lags
from consumers.round_trips import encodable
from ops.addresses import command_settings
from ops.arguments import check_known
from ops.commands.shared_options import AllRows, AsJson, OneTenant
from ops.printing import print_json, print_line, print_lines, print_table
from ops.tasks.delivery_summaries import LISTED, behind, is_settled, lag_cells, lag_summary
from streams.connection import connect
from streams.keys import check_tenant


def lag(
    *,
    tenant: OneTenant = None,
    all_: AllRows = False,
    as_json: AsJson = False,
) -> None:
    """Show how far each group is behind: the tenants that are, and a summary."""
    from projections.registry.lookup import projection_names  # noqa: PLC0415 - help needs none

    client = connect(command_settings().require_redis_url())
    if tenant is not None:
        check_known(client, check_tenant(tenant))
    rows = [
        row._replace(tenant=encodable(row.tenant))
        for row in lags.lag(client, projection_names())
        if tenant in (None, row.tenant)
    ]
    if as_json:
        print_json([row._asdict() for row in rows])
        return
    late = behind(rows)
    listed = [*late, *(row for row in rows if is_settled(row))] if all_ else late[:LISTED]
    if listed:
        head = ["group", "tenant", "waiting", "pending", "oldest"]
        print_table(head, map(lag_cells, listed))
    if len(late) > len(listed):
        print_line(f"and {len(late) - len(listed)} more: --all")
    print_lines(lag_summary(rows))

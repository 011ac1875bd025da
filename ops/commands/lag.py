"""`jobtrail lag`."""

from __future__ import annotations

from consumers.delivery import lag as lags
from consumers.round_trips import encodable
from ops.addresses import command_settings
from ops.arguments import check_known
from ops.commands.shared_options import AsJson, OneTenant
from ops.printing import print_json, print_table
from streams.connection import connect
from streams.keys import check_tenant


def lag(
    *,
    tenant: OneTenant = None,
    as_json: AsJson = False,
) -> None:
    """Show how far each group is behind, by tenant."""
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
    ordered = sorted(rows, key=lambda row: (row.group, -row.oldest_age_seconds, row.tenant))
    print_table(
        ["group", "tenant", "waiting", "pending", "oldest (s)"],
        [
            (
                row.group,
                row.tenant,
                "?" if row.waiting is None else row.waiting,
                row.pending,
                f"{row.oldest_age_seconds:.1f}",
            )
            for row in ordered
        ],
    )

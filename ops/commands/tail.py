"""`jobtrail tail`."""

from __future__ import annotations

from typing import Annotated

import typer

from ops.addresses import command_settings
from ops.arguments import is_known
from ops.commands.shared_options import AsJson, Tenant
from ops.printing import LINE_LENGTH, complain, print_json, print_line, reader_gone
from ops.tasks.stream_tail import check_start, describe, follow
from streams.connection import connect
from streams.keys import check_tenant


def tail(
    tenant: Tenant,
    *,
    since: Annotated[
        str, typer.Option("--from", help="After this entry id; 0 for all, $ for new entries.")
    ] = "$",
    as_json: AsJson = False,
) -> None:
    """Watch a tenant's events until Ctrl-C."""
    check_start(since)
    client = connect(command_settings().require_redis_url())
    if not is_known(client, check_tenant(tenant)):
        complain(f"nothing was ever appended for tenant {tenant}: waiting for its first event")
    try:
        for entry in follow(client, tenant, since, done=reader_gone):
            if as_json:
                event = entry.raw.decode("utf-8", "replace")
                print_json({"entry_id": str(entry.entry_id), "event": event})
            else:
                print_line(describe(entry), LINE_LENGTH)
    except KeyboardInterrupt:
        return

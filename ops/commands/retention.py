"""The commands `jobtrail trim` and `jobtrail groups`, about old entries. Used by `ops.cli`."""

from __future__ import annotations

from typing import Annotated

import typer

from ops.addresses import command_settings
from ops.arguments import check_known
from ops.commands.shared_options import AllRows, AsJson, OneTenant
from ops.printing import complain, print_json, print_line, print_lines, print_table
from ops.text.plurals import counted
from streams import logging_setup
from streams.cluster import keys_of
from streams.connection import connect
from streams.keys import check_tenant

groups = typer.Typer(help="Registered consumer groups.", no_args_is_help=True)


def trim(
    *,
    tenant: OneTenant = None,
    all_: AllRows = False,
    as_json: AsJson = False,
) -> None:
    """Trim streams now, as far as is safe, and show what holds the rest back."""
    from consumers.chores.retention import trimming  # noqa: PLC0415 - other commands start faster
    from consumers.round_trips import encodable  # noqa: PLC0415 - as above
    from ops.tasks import delivery_summaries  # noqa: PLC0415 - as above

    settings = command_settings()
    client = connect(settings.require_redis_url())
    tenants = None if tenant is None else [check_known(client, check_tenant(tenant))]
    rows = [
        row._replace(tenant=encodable(row.tenant), held_by=tuple(map(encodable, row.held_by)))
        for row in trimming.trim(client, keys_of(client), settings.stream_keep_seconds, tenants)
    ]
    if as_json:
        print_json([row._asdict() for row in rows])
        return
    found = delivery_summaries.notable(rows)
    listed = rows if all_ else found[: delivery_summaries.LISTED]
    if listed:
        head = ["tenant", "trimmed", "left", "held back by"]
        print_table(head, map(delivery_summaries.trim_cells, listed))
    if len(found) > len(listed):
        print_line(f"and {len(found) - len(listed)} more: --all")
    print_lines(delivery_summaries.trim_summary(rows, settings.stream_keep_seconds))


@groups.command("list")
def list_groups(*, as_json: AsJson = False) -> None:
    """List the registered groups, and in how many streams each holds trimming back."""
    from consumers.chores.retention import registration, trimming  # noqa: PLC0415 - as in `trim`
    from consumers.round_trips import encodable  # noqa: PLC0415 - as in `trim`

    settings = command_settings()
    client = connect(settings.require_redis_url())
    held = list(trimming.trim(client, keys_of(client), settings.stream_keep_seconds, dry_run=True))
    rows = [
        row._replace(group=encodable(row.group))
        for row in registration.group_reports(client, keys_of(client), held)
    ]
    if as_json:
        print_json([row._asdict() for row in rows])
        return
    print_table(["group", "streams", "pending", "consumers alive", "holds back"], rows)


@groups.command()
def deregister(
    group: Annotated[str, typer.Argument(help="A registered group.")],
    *,
    force: Annotated[
        bool, typer.Option("--force", help="Even if it has consumers that are alive.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Remove a group that is not used any more, so that it no longer holds trimming back."""
    from ops.tasks.group_registration import deregister as remove  # noqa: PLC0415 - as in `trim`

    settings = command_settings()
    logging_setup.configure(settings)
    streams = remove(settings, group, complain, force=force)
    if as_json:
        print_json({"group": group, "streams": streams})
    else:
        print_line(f"group {group} forgotten on {counted(streams, 'stream')}")

"""The command `jobtrail consume`. Used by `ops.cli`."""

from __future__ import annotations

from typing import Annotated

import typer

from consumers.composition import consume
from ops.addresses import command_settings
from ops.arguments import check_database_url, check_primary
from ops.commands.shared_options import complete_projection
from ops.errors import CommandError
from ops.tasks.running.consumer_processes import check_metrics_ports, run_consumers
from projections.registry.lookup import find_projection, projection_names

MOST_PROCESSES = 256


def consume_group(
    group: Annotated[
        str,
        typer.Argument(
            help="status, rows, or the group of a projection that a package adds",
            autocompletion=complete_projection,
        ),
    ],
    *,
    processes: Annotated[
        int,
        typer.Option(
            "--processes",
            min=1,
            max=MOST_PROCESSES,
            help="Number of consumers, each in a process of its own.",
        ),
    ] = 1,
) -> None:
    """Run consumers of a group until SIGTERM or Ctrl-C."""
    projection = find_projection(group)
    if projection is None:
        raise CommandError(f"no group {group!r}: take one of {', '.join(projection_names())}")
    settings = command_settings()
    if projection.needs_database:
        check_database_url(settings)
    check_primary(settings)
    check_metrics_ports(settings, processes)
    if processes == 1:
        consume(group, settings)
    else:
        run_consumers(group, settings, processes)

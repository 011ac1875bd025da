"""`jobtrail consume`."""

from __future__ import annotations

from typing import Annotated

import typer

from consumers.composition import consume
from ops.addresses import command_settings
from ops.arguments import check_database_url, check_primary
from ops.errors import CommandError
from projections.registry.lookup import find_projection, projection_names


def consume_group(
    group: Annotated[
        str, typer.Argument(help="status, rows, or the group of a projection that a package adds")
    ],
) -> None:
    """Run one consumer of a group until SIGTERM or Ctrl-C."""
    projection = find_projection(group)
    if projection is None:
        raise CommandError(f"no group {group!r}: take one of {', '.join(projection_names())}")
    settings = command_settings()
    if projection.needs_database:
        check_database_url(settings)
    check_primary(settings)
    consume(group, settings)

"""`jobtrail consume`."""

from __future__ import annotations

from typing import Annotated

import typer

from consumers.composition import PROJECTIONS, consume
from ops.addresses import command_settings
from ops.arguments import check_database_url, check_primary
from ops.errors import CommandError


def consume_group(group: Annotated[str, typer.Argument(help="status or rows")]) -> None:
    """Run one consumer of a group until SIGTERM or Ctrl-C."""
    if group not in PROJECTIONS:
        raise CommandError(f"no group {group!r}: take one of {', '.join(PROJECTIONS)}")
    settings = command_settings()
    if group != "status":
        check_database_url(settings)
    check_primary(settings)
    consume(group, settings)

"""The command `jobtrail api`. Used by `ops.cli`."""

from __future__ import annotations

from typing import Annotated

import typer

from api.server import ServerFailed, serve
from ops.addresses import command_settings
from ops.arguments import check_database_url, check_primary
from ops.doctor.connection_budget import check_pool
from ops.errors import CommandError
from ops.operator_view import RedisOperatorView
from ops.printing import announce


def api(
    *,
    quiet: Annotated[
        bool, typer.Option("--quiet", hidden=True, help="Do not print the address.")
    ] = False,
) -> None:
    """Serve the read API until SIGTERM or Ctrl-C."""
    settings = command_settings()
    check_pool(settings)
    check_database_url(settings)
    check_primary(settings)
    try:
        serve(
            settings,
            lambda url: None if quiet else announce([f"api: {url}"]),
            operator_view=RedisOperatorView.of(settings),
        )
    except ServerFailed as error:
        raise CommandError(str(error)) from None

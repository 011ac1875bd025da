"""The command `jobtrail up`. Used by `ops.cli`."""

from __future__ import annotations

from typing import Annotated

import redis
import typer

from ops.arguments import check_servers
from ops.errors import CommandError, line_for
from ops.printing import announce, write_log
from ops.tasks.up import run_all
from streams.connection import WrongServer
from streams.settings import PREFIX, Settings


def up(
    *,
    port: Annotated[
        int | None,
        typer.Option(
            "--port",
            "-p",
            min=0,
            max=65_535,
            help="The port of the API; 0 takes a free one. By default JOBTRAIL_API_PORT, or 8000.",
        ),
    ] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Run jobs to watch, until stopped.")] = False,
) -> None:
    """Run everything on this machine: servers, migrations, consumers, API."""
    settings = Settings.from_environ()
    if port is not None:
        settings = settings.model_copy(update={"api_port": port})
    # Checked here, because consumers and API would wait for a server that cannot be used.
    try:
        check_servers(settings)
    except WrongServer:  # it is a ConnectionError, but embedded servers are not the remedy
        raise
    except redis.ConnectionError as error:
        raise CommandError(
            f"{line_for(error)}; for embedded servers: unset {PREFIX}REDIS_URL {PREFIX}DATABASE_URL"
        ) from None
    run_all(settings, announce, write_log, demo=demo)

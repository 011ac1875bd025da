"""`jobtrail up`."""

from __future__ import annotations

from typing import Annotated

import typer

from ops.arguments import check_servers
from ops.up import run
from streams.settings import Settings


def up(
    *,
    demo: Annotated[bool, typer.Option("--demo", help="Run real work to look at.")] = False,
) -> None:
    """Run everything on this machine: servers, migrations, consumers, API."""
    settings = Settings.from_environ()
    # The parts that it starts would wait for a server that cannot be used.
    check_servers(settings)
    run(settings, demo=demo)

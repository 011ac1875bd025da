"""`jobtrail up`."""

from __future__ import annotations

from typing import Annotated

import typer

from ops.arguments import check_servers
from ops.printing import announce
from ops.tasks.up import run_all
from streams.settings import Settings


def up(
    *,
    demo: Annotated[bool, typer.Option("--demo", help="Run jobs with real work to watch.")] = False,
) -> None:
    """Run everything on this machine: servers, migrations, consumers, API."""
    settings = Settings.from_environ()
    # Consumers and API would wait for a server that cannot be used.
    check_servers(settings)
    run_all(settings, announce, demo=demo)

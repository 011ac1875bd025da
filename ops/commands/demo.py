"""`jobtrail demo`, which `jobtrail up --demo` starts."""

from __future__ import annotations

from ops.addresses import command_settings
from ops.demo import run
from streams import logs


def demo() -> None:
    """Do the demo's work once, against the servers of `jobtrail up --demo`."""
    settings = command_settings()
    logs.configure(settings)
    run(settings)

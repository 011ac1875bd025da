"""`jobtrail demo`, which `jobtrail up --demo` starts."""

from __future__ import annotations

from ops.addresses import command_settings
from ops.demo import run
from streams import logging_setup


def demo() -> None:
    """Do the demo's work once, against the servers of `jobtrail up --demo`."""
    settings = command_settings()
    logging_setup.configure(settings)
    run(settings)

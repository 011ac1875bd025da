"""`jobtrail demo`, which `jobtrail up --demo` starts. Used by `ops.cli`."""

from __future__ import annotations

from ops.addresses import command_settings
from ops.tasks.demo import run_demo
from streams import logging_setup


def demo() -> None:
    """Run the demo's jobs, against the servers of `jobtrail up --demo`."""
    settings = command_settings()
    logging_setup.configure(settings)
    run_demo(settings)

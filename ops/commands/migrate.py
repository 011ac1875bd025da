"""The command `jobtrail migrate`. Used by `ops.cli`."""

from __future__ import annotations

from ops.addresses import command_settings
from ops.commands.shared_options import AsJson
from ops.printing import print_json, print_lines
from sql.migrate import apply
from streams import logging_setup


def migrate(*, as_json: AsJson = False) -> None:
    """Apply the migrations that the database lacks."""
    settings = command_settings()
    logging_setup.configure(settings)
    applied = apply(settings.require_database_url())
    if as_json:
        print_json({"applied": applied})
    else:
        print_lines([f"applied {name}" for name in applied] or ["nothing to apply"])

"""`jobtrail doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from ops.addresses import command_settings
from ops.commands.shared_options import AsJson
from ops.doctor.report import report
from ops.errors import CommandError


def doctor(
    *,
    legacy: Annotated[
        bool, typer.Option("--legacy", help="Look for old keys that name no tenant, instead.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check a deployment, and say what to do about each thing that is not right."""
    wrong, looked = report(command_settings(), legacy=legacy, as_json=as_json)
    if wrong:
        raise CommandError(f"{wrong} of {looked} checks want attention")

"""Options that several commands take."""

from __future__ import annotations

from typing import Annotated

import typer

Tenant = Annotated[str, typer.Option("--tenant", help="Whose log.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

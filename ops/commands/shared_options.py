"""Options that several commands take."""

from __future__ import annotations

from typing import Annotated

import typer

Tenant = Annotated[str, typer.Option("--tenant", "-t", help="The tenant.")]
OneTenant = Annotated[str | None, typer.Option("--tenant", "-t", help="Only this tenant.")]
AllRows = Annotated[bool, typer.Option("--all", "-a", help="List every row.")]
AsJson = Annotated[bool, typer.Option("--json", "-j", help="Print JSON.")]
Projection = Annotated[
    str, typer.Argument(help="status, rows, or a projection that a package adds")
]
Processes = Annotated[
    int | None,
    typer.Option(
        "--processes",
        min=1,
        help="Number of processes that share the tenants; by default as many as save time.",
    ),
]

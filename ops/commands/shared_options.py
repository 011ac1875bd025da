"""Options that several commands take. Used by `ops.commands`."""

from __future__ import annotations

from typing import Annotated

import typer

Tenant = Annotated[str, typer.Option("--tenant", "-t", help="The tenant.")]
OneTenant = Annotated[str | None, typer.Option("--tenant", "-t", help="Only this tenant.")]
AllRows = Annotated[bool, typer.Option("--all", "-a", help="List every row.")]
AsJson = Annotated[bool, typer.Option("--json", "-j", help="Print JSON.")]


def complete_projection(incomplete: str) -> list[str]:
    """Return the projections that begin so, for the completion of a shell."""
    from projections.registry.lookup import projection_names  # noqa: PLC0415 - only to complete

    return [name for name in projection_names() if name.startswith(incomplete)]


def complete_kind(incomplete: str) -> list[str]:
    """Return the kinds that begin so, for the completion of a shell."""
    from streams.kinds import KINDS  # noqa: PLC0415 - only to complete

    return [name for name in KINDS if name.startswith(incomplete)]


Projection = Annotated[
    str,
    typer.Argument(
        help="status, rows, or a projection that a package adds",
        autocompletion=complete_projection,
    ),
]
Processes = Annotated[
    int | None,
    typer.Option(
        "--processes",
        min=1,
        help="Number of processes that share the tenants; by default as many as save time.",
    ),
]

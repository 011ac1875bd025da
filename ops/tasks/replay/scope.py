"""The scope of one `replay` or `verify`: the projection, the events, and the way to handle them.

Used by the other modules of `ops.tasks.replay`, by `ops.commands.replay` and `ops.commands.verify`.
"""

from __future__ import annotations

from typing import NamedTuple

from ops.errors import CommandError
from projections.registry.definition import RegisteredProjection
from projections.registry.lookup import find_projection, projection_names
from projections.replay.events.sources import EntryRange
from streams.keys import check_tenant
from streams.settings import Settings

WAITING = "waiting for writers to let go of the rows"
"""The notice while other sessions have locked rows that are to be replaced."""


class Scope(NamedTuple):
    """The projection, tenants and events that one command works on."""

    settings: Settings
    projection: str
    tenant: str | None
    """None for all tenants."""
    reset: bool = False
    """True to overwrite what differs from the events; False to add what is missing."""
    entry_range: EntryRange = EntryRange()
    """Only jobs with an event in this range of entry ids."""
    count_first: bool = False
    """True to count the expected events before the work, for a progress bar."""

    def registered(self) -> RegisteredProjection:
        """Return the projection; raises as the function `registered`."""
        return registered(self.projection)


def check_scope(projection: str, tenant: str | None) -> None:
    """Check that the projection exists and that the tenant's name is valid.

    Raises:
        CommandError: there is no projection of that name.
        InvalidProjection: the package that adds it has to be corrected.
        InvalidTenant: no tenant can have that name.
    """
    registered(projection)
    if tenant is not None:
        check_tenant(tenant)


def registered(projection: str) -> RegisteredProjection:
    """Return the projection of a name.

    Raises:
        CommandError: there is no projection of that name.
        InvalidProjection: the package that adds it has to be corrected.
    """
    found = find_projection(projection)
    if found is None:
        names = ", ".join(projection_names())
        raise CommandError(f"no projection {projection!r}: take one of {names}")
    return found


def unknown_tenant_error(tenant: str) -> CommandError:
    """Return the error for a tenant that has no events."""
    return CommandError(
        f"no tenant {tenant!r}: there is no event of it in a stream or in the history"
    )

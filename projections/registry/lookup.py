"""Search of projections by their group: built-in ones, and those of installed packages.

Names are found without importing the projections. Importing it imports no projection. The group of
a projection that a package adds is the name of its entry point. Used by `consumers.chores`,
`consumers.composition`, `ops` and `projections.registry.rows`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import TYPE_CHECKING

from streams.runtime.environment import SettingsError
from streams.runtime.safe_text import one_line

if TYPE_CHECKING:
    from projections.registry.definition import RegisteredProjection

ENTRY_POINTS = "jobtrail.projections"
"""The entry point group of packages that add projections."""

HISTORY_GROUP = "rows"
"""The group of the projection that stores the history, from which all others can be replayed. Its
consumers trim streams, drop old history and end stalled jobs."""

BUILT_IN: Mapping[str, EntryPoint] = MappingProxyType(
    {
        name: EntryPoint(name, value, ENTRY_POINTS)
        for name, value in (
            ("status", "projections.registry.status:STATUS"),
            (HISTORY_GROUP, "projections.registry.rows:ROWS"),
        )
    }
)

_GROUP = re.compile(r"[a-z][a-z0-9_-]{0,63}\Z")


class InvalidProjection(SettingsError):
    """An installed package adds a projection that is not valid; the message names the package."""


def projection_names() -> tuple[str, ...]:
    """Return the groups of all projections, the built-in ones first.

    Raises:
        InvalidProjection: an installed package adds a name that is not valid or not free.
    """
    return tuple(_entries())


@cache
def find_projection(group: str) -> RegisteredProjection | None:
    """Return the projection of a group, or None.

    Raises:
        InvalidProjection: the projection cannot be loaded or is not valid, or an installed package
            adds a name that is not valid or not free.
    """
    entry = BUILT_IN.get(group) or _entries().get(group)
    return None if entry is None else _loaded(entry)


@cache
def _entries() -> Mapping[str, EntryPoint]:
    entries = dict(BUILT_IN)
    for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda each: (each.name, each.value)):
        if entry.name in entries:
            raise _invalid(entry, "there is a projection of that name already")
        if not _GROUP.match(entry.name):
            raise _invalid(
                entry, "its name must be a letter from a to z, then up to 63 of a-z, 0-9, - and _"
            )
        entries[entry.name] = entry
    return entries


def _loaded(entry: EntryPoint) -> RegisteredProjection:
    from projections.registry.definition import RegisteredProjection  # noqa: PLC0415 - loads projections

    try:
        projection = entry.load()
    except Exception as error:  # the code of another package may raise anything
        raise _invalid(entry, one_line(error)) from error
    if not isinstance(projection, RegisteredProjection):
        raise _invalid(entry, f"must be a RegisteredProjection, not {type(projection).__name__}")
    if projection.group != entry.name:
        raise _invalid(entry, f"its group is {projection.group!r}, which must be the entry's name")
    return projection


def _invalid(entry: EntryPoint, detail: str) -> InvalidProjection:
    package = entry.dist.name if entry.dist else "an unknown package"
    return InvalidProjection(
        f"the projection {entry.name} of {package} ({entry.value}): {detail}:"
        " correct or uninstall it"
    )

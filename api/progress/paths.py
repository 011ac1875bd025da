"""The paths of progress and of its live stream, matched without a router, for speed.

Used by `api.application` for every request.
"""

from __future__ import annotations

from typing import NamedTuple

from streams.kinds import KINDS, Kind

_ENDINGS = {"": False, "/": False, "/events": True, "/events/": True}
"""True for the path of the live stream, by the text after `/progress`."""
_KINDS = tuple((f"{kind.url}/", kind) for kind in KINDS.values())
_ROUTES = {
    (kind.name, events): f"{kind.url}/{{id}}/progress/{'events' if events else ''}"
    for kind in KINDS.values()
    for events in (False, True)
}


class ProgressPath(NamedTuple):
    """The job that a path names; its id may have any form."""

    kind: Kind
    job_id: str
    events: bool
    """True for the path of the live stream."""

    @property
    def route(self) -> str:
        """The path's pattern, for metrics."""
        return _ROUTES[self.kind.name, self.events]


def match_path(path: str) -> ProgressPath | None:
    """Return what a path names, with or without a trailing slash; None for other paths."""
    # A regular expression would backtrack from the end of the path.
    start, _, ending = path.rpartition("/progress")
    events = _ENDINGS.get(ending)
    if events is not None:
        for prefix, kind in _KINDS:
            if start.startswith(prefix):
                return ProgressPath(kind, start.removeprefix(prefix), events)
    return None

"""Trailing slashes: a path is answered the same with and without it, or leads to the other one.

No redirect ever names a host, which would be the one that the request named, nor repeats the query,
which may hold a token.
"""

from __future__ import annotations

from collections.abc import Iterable

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route


def with_either_slash(routes: Iterable[Route]) -> list[Route]:
    """Return each route twice: with its path's trailing slash, and without."""
    return [
        Route(path, route.endpoint, methods=list(route.methods or ()))
        for route in routes
        for path in (route.path.rstrip("/") + "/", route.path.rstrip("/"))
    ]


def redirect(path: str, target: str) -> Route:
    """Return the route of a path that leads to a page elsewhere, given relative to the path."""

    async def endpoint(_request: Request) -> Response:
        return RedirectResponse(target, 308)

    return Route(path, endpoint, include_in_schema=False)

"""Trailing slashes: each path is answered with and without one, or redirects to the other form.

A redirect contains neither a host, which would be the one in the request, nor the query, which may
contain a token. Used by `api.app`, `api.operators.routes`, `api.operators.console` and
`api.spec.docs_page`.
"""

from __future__ import annotations

from collections.abc import Iterable

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route


def with_either_slash(routes: Iterable[Route]) -> list[Route]:
    """Return two routes for each one: with a trailing slash, and without."""
    return [
        Route(path, route.endpoint, methods=list(route.methods or ()))
        for route in routes
        for path in (route.path.rstrip("/") + "/", route.path.rstrip("/"))
    ]


def redirect(path: str, target: str) -> Route:
    """Return the route of a permanent redirect; the target is relative to the path."""

    async def endpoint(_request: Request) -> Response:
        return RedirectResponse(target, 308)

    return Route(path, endpoint)

"""Routes of the page at `/docs`: the OpenAPI document for people, with a form for each operation.

The page loads nothing from other servers and has no inline script or style, so that the strictest
content security policy applies. Used by `api.app`.
"""

from __future__ import annotations

from importlib.resources import files

from starlette.routing import Route

from api.http.responses import PAGE
from api.http.static_files import MEDIA_TYPES, extension_of, file_route
from api.http.trailing_slashes import redirect

_HEADERS = {
    **{name.decode(): value.decode() for name, value in PAGE},
    "cache-control": "public, no-cache",
}


def docs_routes() -> list[Route]:
    """Return the routes of the page's files, and of the redirect from `/docs/`."""
    found = sorted(files("api.spec").joinpath("docs").iterdir(), key=lambda file: file.name)
    routes = [
        _route(file.name, file.read_bytes())
        for file in found
        if extension_of(file.name) in MEDIA_TYPES
    ]
    # The page names its files relative to `/docs`.
    return [*routes, redirect("/docs/", "../docs")]


def _route(name: str, body: bytes) -> Route:
    path = "/docs" if name == "index.html" else f"/docs/{name}"
    return file_route(path, name, body, _HEADERS)

"""Routes of the page at `/docs`: the OpenAPI document for people, in Swagger UI.

Swagger UI is served from its unchanged npm package, in `docs/swagger-ui/`. The page loads nothing
from other servers and has no inline script or style, so that the strictest content security policy
applies. Used by `api.app`.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable

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
    root = files("api.spec").joinpath("docs")
    # The page names its files relative to `/docs`.
    return [*_routes(root, "/docs"), redirect("/docs/", "../docs")]


def _routes(folder: Traversable, url: str) -> Iterator[Route]:
    for file in sorted(folder.iterdir(), key=lambda each: each.name):
        if file.is_dir():
            yield from _routes(file, f"{url}/{file.name}")
        elif extension_of(file.name) in MEDIA_TYPES:
            path = url if file.name == "index.html" else f"{url}/{file.name}"
            yield file_route(path, file.name, file.read_bytes(), _HEADERS)

"""The page at /docs: the OpenAPI document for people, with a form to try each operation.

Plain files of this package, read once; nothing is loaded from elsewhere, and no script or style is
inline, so that the strictest policy holds.
"""

from __future__ import annotations

from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.http.etags import etag_of, is_known
from api.http.responses import PAGE
from api.http.trailing_slashes import redirect

_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
_HEADERS = {
    **{name.decode(): value.decode() for name, value in PAGE},
    "cache-control": "public, no-cache",
}


def docs_routes() -> list[Route]:
    """Give the routes of the page and of what it loads; they ask nobody who they are."""
    found = sorted(files("api.spec").joinpath("docs").iterdir(), key=lambda file: file.name)
    files_shown = [
        _route(file.name, file.read_bytes())
        for file in found
        if file.name.rpartition(".")[2] in _TYPES
    ]
    # What the page loads is named relative to `/docs`.
    return [*files_shown, redirect("/docs/", "../docs")]


def _route(name: str, body: bytes) -> Route:
    tag = etag_of(body)
    headers = {**_HEADERS, "etag": tag.decode()}
    content_type = f"{_TYPES[name.rpartition('.')[2]]}; charset=utf-8"

    async def page(request: Request) -> Response:
        if is_known(request.scope["headers"], tag):
            return Response(status_code=304, headers=headers)
        return Response(body, headers=headers, media_type=content_type)

    index = name == "index.html"
    return Route("/docs" if index else f"/docs/{name}", page, include_in_schema=index)

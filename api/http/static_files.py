"""Routes of static files, which are read once, and are served from memory with an entity tag.

Used by `api.operators.console`, `api.spec.docs_page` and `api.spec.client_files`.
"""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.http.etags import etag_of, is_not_modified

MEDIA_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "ts": "application/typescript; charset=utf-8",
    "txt": "text/plain; charset=utf-8",
}
"""Media types by file name extension; files with other extensions are not served."""


def extension_of(name: str) -> str:
    """Return a file name's extension, without the dot."""
    return name.rpartition(".")[2]


def file_route(path: str, name: str, body: bytes, headers: Mapping[str, str]) -> Route:
    """Return the route that serves a file at a path, or 304 if the caller has it already.

    Args:
        path: the path in the URL.
        name: the file's name; its extension determines the media type.
        body: the file's bytes.
        headers: headers of the answer, besides the media type and the entity tag.
    """
    tag = etag_of(body)
    tagged = {**headers, "etag": tag.decode()}
    media_type = MEDIA_TYPES[extension_of(name)]

    async def endpoint(request: Request) -> Response:
        if is_not_modified(request.scope["headers"], tag):
            return Response(status_code=304, headers=tagged)
        return Response(body, headers=tagged, media_type=media_type)

    return Route(path, endpoint)

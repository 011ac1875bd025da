"""The ops console's pages: files of this package, held in memory, with a strict policy.

They are the same for everybody and tell nothing; what they show they ask `/api/v1/ops/` for.
"""

from __future__ import annotations

from importlib.resources import files
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.http.etags import etag_of, is_known
from api.http.trailing_slashes import redirect

URL = "/console/"

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "require-trusted-types-for 'script'",
    )
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "cache-control": "no-cache",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "x-frame-options": "DENY",
}


class _File(NamedTuple):
    body: bytes
    media_type: str
    etag: bytes


def console_routes() -> list[Route]:
    """Give the routes: `/console/` and its files; `/console` leads there."""
    routes = [redirect(URL.rstrip("/"), "console/")]
    for name, file in _read().items():
        routes.append(_route(URL + ("" if name == "index.html" else name), file))
    return routes


def _read() -> dict[str, _File]:
    found = {}
    for path in files("api.operators").joinpath("static").iterdir():
        media_type = _TYPES.get(path.name[path.name.rfind(".") :])
        if media_type is not None:
            body = path.read_bytes()
            found[path.name] = _File(body, media_type, etag_of(body))
    return found


def _route(path: str, file: _File) -> Route:
    headers = _HEADERS | {"etag": file.etag.decode()}

    async def endpoint(request: Request) -> Response:
        if is_known(request.scope["headers"], file.etag):
            return Response(status_code=304, headers=headers)
        return Response(file.body, headers=headers, media_type=file.media_type)

    return Route(path, endpoint)

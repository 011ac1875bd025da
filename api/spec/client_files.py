"""The frontend developer's module and its types, as files to import from any page of any origin.

They hold no secret and tell of no tenant, so nobody is asked for credentials.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.http.etags import etag_of, is_known
from api.spec.client_kinds import script_with_kinds, types_with_kinds
from streams.kinds import KINDS

_FOLDER = Path(__file__).with_name("client")

_HEADERS = {
    "cache-control": "public, no-cache",
    # A module's script is fetched as CORS has it, whoever's page imports it.
    "access-control-allow-origin": "*",
    "cross-origin-resource-policy": "cross-origin",
}


class _File(NamedTuple):
    """A file as it is served: its bytes, and its headers with the tag."""

    body: bytes
    headers: Mapping[str, str]


def client_routes() -> list[Route]:
    """Return the routes of /client.js and /client.d.ts; the files are read once, here."""
    script = script_with_kinds((_FOLDER / "client.js").read_text("utf-8"), KINDS)
    types = types_with_kinds((_FOLDER / "client.d.ts").read_text("utf-8"), KINDS)
    return [
        # Deno finds the types by this header; for others they are beside the module.
        _route("client.js", script, "text/javascript", {"x-typescript-types": "./client.d.ts"}),
        _route("client.d.ts", types, "application/typescript", {}),
    ]


def _route(name: str, text: str, content_type: str, more: Mapping[str, str]) -> Route:
    body = text.encode()
    tag = {"etag": etag_of(body).decode()}
    shown = _File(
        body, {"content-type": f"{content_type}; charset=utf-8", **_HEADERS, **more, **tag}
    )

    async def serve(request: Request) -> Response:
        body, headers = shown
        if is_known(request.scope["headers"], headers["etag"].encode()):
            return Response(status_code=304, headers=dict(headers))
        return Response(body, headers=dict(headers))

    return Route(f"/{name}", serve, include_in_schema=False)

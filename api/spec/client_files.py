"""Routes of the JavaScript client: `/client.js` and its types `/client.d.ts`.

A page of any origin may import them without credentials: they contain no secret and no data of a
tenant. Used by `api.app`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from starlette.routing import Route

from api.http.static_files import file_route
from api.spec.client_kinds import script_with_kinds, types_with_kinds
from streams.kinds import KINDS

_FOLDER = Path(__file__).with_name("client")

_HEADERS = {
    "cache-control": "public, no-cache",
    # Browsers fetch modules with CORS, whatever the origin of the page that imports them.
    "access-control-allow-origin": "*",
    "cross-origin-resource-policy": "cross-origin",
}


def client_routes() -> list[Route]:
    """Return the routes of both files, which contain all kinds of jobs."""
    script = script_with_kinds((_FOLDER / "client.js").read_text("utf-8"), KINDS)
    types = types_with_kinds((_FOLDER / "client.d.ts").read_text("utf-8"), KINDS)
    return [
        # Deno finds the types through this header; other tools look beside the module.
        _route("client.js", script, {"x-typescript-types": "./client.d.ts"}),
        _route("client.d.ts", types, {}),
    ]


def _route(name: str, text: str, headers: Mapping[str, str]) -> Route:
    return file_route(f"/{name}", name, text.encode(), {**_HEADERS, **headers})

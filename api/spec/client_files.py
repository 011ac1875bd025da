"""Routes of the JavaScript client: `/client.js`, `/element.js` and their types.

The folder `client` is the npm package `jobtrail`. Its modules for frameworks are not served: they
import the framework by a name that only a bundler resolves. A page of any origin may import the
served ones without credentials: they contain no secret and no data of a tenant. Used by `api.app`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
    """Return the routes of the files; `client` contains all kinds of jobs."""
    return [
        *_routes(
            "client",
            script_with_kinds(_read("client.js"), KINDS),
            types_with_kinds(_read("client.d.ts"), KINDS),
        ),
        *_routes("element", _read("element.js"), _read("element.d.ts")),
    ]


def _routes(module: str, script: str, types: str) -> Iterator[Route]:
    """Return the routes of a module and of its types."""
    # Deno finds the types through this header; other tools look beside the module.
    yield _route(f"{module}.js", script, {"x-typescript-types": f"./{module}.d.ts"})
    yield _route(f"{module}.d.ts", types, {})


def _route(name: str, text: str, headers: Mapping[str, str]) -> Route:
    return file_route(f"/{name}", name, text.encode(), {**_HEADERS, **headers})


def _read(name: str) -> str:
    return (_FOLDER / name).read_text("utf-8")

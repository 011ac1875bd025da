"""The limit of the progress endpoint: "hello", from the same server with the same settings.

`python -m benchmarks.hello` starts the product's own HTTP server; only the application differs.
"""

from __future__ import annotations

from unittest.mock import patch

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from api import server
from streams.settings import Settings

PATH = "/hello"


async def _hello(_request: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


def main() -> None:
    """Serve until SIGTERM."""
    app = Starlette(routes=[Route(PATH, _hello)])
    with patch.object(server, "create_app", lambda *_: app):
        server.serve(Settings.from_environ(), lambda url: print(f"api: {url}", flush=True))


if __name__ == "__main__":
    main()

"""Routes of the operators' console: the page at `/console/` and its scripts, styles and pictures.

The files are static and the same for every caller; the scripts fetch their data from
`/api/v1/ops/`. Used by `api.operators.routes`.
"""

from __future__ import annotations

from importlib.resources import files

import orjson
from starlette.routing import Route

from api.http.catalogue import catalogue
from api.http.responses import PAGE
from api.http.static_files import MEDIA_TYPES, extension_of, file_route
from api.http.trailing_slashes import redirect

URL = "/console/"

_HEADERS = {
    **{name.decode(): value.decode() for name, value in PAGE},
    "cache-control": "no-cache",
    "x-frame-options": "DENY",
}


def console_routes() -> list[Route]:
    """Return the routes of the console's files, and of the redirect from `/console`."""
    routes = [redirect(URL.rstrip("/"), "console/")]
    static = files("api.operators").joinpath("static")
    for folder, url in ((static, URL), (static.joinpath("vendor"), f"{URL}vendor/")):
        for file in folder.iterdir():
            if extension_of(file.name) in MEDIA_TYPES:
                path = url + ("" if file.name == "index.html" else file.name)
                routes.append(file_route(path, file.name, file.read_bytes(), _HEADERS))
    # A module and not JSON: a module that imports it has the texts as soon as it is loaded.
    module = b"export default %b;\n" % orjson.dumps(catalogue())
    return [*routes, file_route(f"{URL}messages.js", "messages.js", module, _HEADERS)]

"""Cross-origin resource sharing (CORS): which other origins' pages may read answers.

By default none; `JOBTRAIL_CORS_ORIGINS` lists them. Cookies are never used: a page has to know the
token that it sends. Used by `api.access.request_guard`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus

from starlette.datastructures import Headers as StarletteHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from api.http.languages import answer_to
from api.http.problems import Problem
from api.http.responses import NO_CONTENT_RUNS, NO_STORE, SECURITY, Headers, RawResponse
from streams.settings import Settings, SettingsError

METHODS = ("GET", "HEAD", "POST")
REQUEST_HEADERS = ("authorization", "if-none-match", "last-event-id", "x-tenant-id")
RESPONSE_HEADERS = ("etag", "jobtrail-after", "jobtrail-replica-age", "retry-after")
"""Response headers that a page's script may read, besides those that are always readable."""

_ORIGIN = re.compile(
    r"https?://(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?"
)
_ANY = "*"
_ALLOWED = RawResponse(204, (*NO_STORE, *NO_CONTENT_RUNS, *SECURITY), b"")


class OriginRefused(Problem):
    """The origin, the method or a header of a cross-origin request is not allowed."""

    status = HTTPStatus.BAD_REQUEST
    problem_type = "origin-refused"


def with_cors(app: ASGIApp, settings: Settings) -> ASGIApp:
    """Return the application wrapped in CORS, or the application itself if no origin is configured.

    Raises:
        SettingsError: as raised by `allowed_origins`.
    """
    origins = allowed_origins(settings)
    return _Cors(app, origins) if origins else app


def allowed_origins(settings: Settings) -> list[str]:
    """Return the origins in `JOBTRAIL_CORS_ORIGINS`.

    Raises:
        SettingsError: the setting is not a list of origins, or is not safe.
    """
    origins = [
        origin for part in (settings.cors_origins or "").split(",") if (origin := part.strip())
    ]
    for origin in origins:
        if origin != _ANY and not _ORIGIN.fullmatch(origin):
            raise SettingsError(
                f"JOBTRAIL_CORS_ORIGINS: {origin!r} is not a valid origin: set the scheme, the "
                "host in lower case and, if it is not the default, the port, such as "
                "https://app.example.com; separate several with commas; or set * for all"
            )
    if _ANY in origins and len(origins) > 1:
        raise SettingsError("JOBTRAIL_CORS_ORIGINS: * includes all origins: remove the others")
    if _ANY in origins and settings.auth == "dev":
        raise SettingsError(
            "JOBTRAIL_CORS_ORIGINS=* is not allowed with JOBTRAIL_AUTH=dev, which trusts every "
            "caller: any page in this machine's browser could read everything; list the origins"
        )
    return origins


class _Cors(CORSMiddleware):
    """Starlette's middleware, with preflight answers in the form of all other answers."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=METHODS,
            allow_headers=REQUEST_HEADERS,
            expose_headers=RESPONSE_HEADERS,
        )

    def preflight_response(self, request_headers: StarletteHeaders) -> Response:
        """Return the answer to a browser's preflight request."""
        answer = super().preflight_response(request_headers)
        allowed = answer.status_code == HTTPStatus.OK
        # The text of a refusal is in the language that this request prefers.
        answer_to(request_headers.raw)
        status, headers, body = _ALLOWED if allowed else OriginRefused().response
        response = Response(body, status, _texts(headers))
        response.headers.update(
            {name: text for name, text in answer.headers.items() if not name.startswith("content-")}
        )
        return response


def _texts(headers: Headers) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in headers}

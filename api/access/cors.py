"""Pages of other origins: which may read the answers. None, unless a setting names them.

Credentials in the browser's sense (cookies) are never involved: callers prove themselves by a
header or a token in the query, which a page has to know.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from api.http.languages import answer_to
from api.http.problems import Problem
from api.http.responses import NO_CONTENT_RUNS, NO_STORE, SECURITY
from api.http.responses import Headers as OwnHeaders
from api.http.responses import Response as OwnResponse
from streams.settings import Settings, SettingsError

METHODS = ("GET", "HEAD", "POST")
REQUEST_HEADERS = ("authorization", "if-none-match", "last-event-id", "x-tenant-id")
RESPONSE_HEADERS = ("etag", "retry-after")
"""Headers of answers that a page's script may read beside those that it always may."""

_ORIGIN = re.compile(
    r"https?://(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?"
)
_ANY = "*"
_ALLOWED = OwnResponse(204, (*NO_STORE, *NO_CONTENT_RUNS, *SECURITY), b"")


class OriginRefused(Problem):
    """Pages of this origin may not ask, or not in this way; the setting says which may."""

    status = HTTPStatus.BAD_REQUEST
    detail = "허용되지 않은 출처의 요청입니다."
    word = "origin-refused"
    english = "Requests from this origin are not allowed."


def with_origins(app: ASGIApp, settings: Settings) -> ASGIApp:
    """Give the application as pages of the settings' origins may ask it; else as it is.

    Raises:
        SettingsError: what is set is no list of origins, or not a safe one.
    """
    origins = allowed_origins(settings)
    return _CrossOrigin(app, origins) if origins else app


def allowed_origins(settings: Settings) -> list[str]:
    """Return the origins that the setting names.

    Raises:
        SettingsError: what is set is not a list of origins, or not a safe one.
    """
    origins = [
        origin for part in (settings.cors_origins or "").split(",") if (origin := part.strip())
    ]
    for origin in origins:
        if origin != _ANY and not _ORIGIN.fullmatch(origin):
            raise SettingsError(
                f"JOBTRAIL_CORS_ORIGINS: {origin!r} is no origin: give the scheme, the host in "
                "lower case and the port where it is not the scheme's own, such as "
                "https://app.example.com, several with commas between them, or * for all"
            )
    if _ANY in origins and len(origins) > 1:
        raise SettingsError("JOBTRAIL_CORS_ORIGINS: * is all origins already: name no others")
    if _ANY in origins and settings.auth == "dev":
        raise SettingsError(
            "JOBTRAIL_CORS_ORIGINS=* will not do with JOBTRAIL_AUTH=dev, which believes every "
            "caller: any page that this machine's browser shows could read everything; name the "
            "origins"
        )
    return origins


class _CrossOrigin(CORSMiddleware):
    """Starlette's, whose own answers have the form and the headers of all of ours."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=METHODS,
            allow_headers=REQUEST_HEADERS,
            expose_headers=RESPONSE_HEADERS,
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        """Answer what a browser asks before it lets a page ask."""
        answer = super().preflight_response(request_headers)
        allowed = answer.status_code == HTTPStatus.OK
        answer_to(request_headers.raw)
        status, given, body = _ALLOWED if allowed else OriginRefused().response
        shown = Response(body, status, _texts(given))
        shown.headers.update(
            {name: text for name, text in answer.headers.items() if not name.startswith("content-")}
        )
        return shown


def _texts(headers: OwnHeaders) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in headers}

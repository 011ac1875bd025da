"""Checks and headers that apply to every request, whatever its path.

Used by `api.app` and `api.application`.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.access.auth import Authenticator
from api.access.client_address import ClientAddresses
from api.access.cors import allowed_origins, with_cors
from api.access.limits import RateLimitedAuthenticator, check_head, limited_body
from api.access.loopback import LoopbackOnly
from api.access.token_guard import TokenGuard
from streams.settings import Settings

_BODILESS = ("GET", "HEAD", "OPTIONS")
"""Methods whose body no endpoint reads."""


class RequestGuard:
    """Checks the size of every request."""

    def __init__(self, settings: Settings) -> None:
        self._max_body_bytes = settings.max_body_bytes

    def check(self, scope: Scope, receive: Receive) -> Receive:
        """Return the `receive` to read the request's body from.

        Raises:
            Problem: the answer to a request that is too large.
        """
        check_head(scope)
        if scope["method"] in _BODILESS:
            return receive
        return limited_body(scope, receive, self._max_body_bytes)


def with_limits(authenticator: Authenticator, settings: Settings) -> Authenticator:
    """Return the authenticator with the rate limits from the settings.

    Raises:
        SettingsError: one of the settings is wrong.
    """
    addresses = ClientAddresses.from_settings(settings)
    # The dev mode has no tokens.
    if settings.auth == "jwt" and settings.bad_token_rate_limit > 0:
        authenticator = TokenGuard(authenticator, settings.bad_token_rate_limit, addresses)
    if settings.rate_limit is not None:
        authenticator = RateLimitedAuthenticator(authenticator, settings.rate_limit)
    return authenticator


def guarded(app: ASGIApp, settings: Settings) -> ASGIApp:
    """Return the application wrapped in CORS, the dev mode's host check and HSTS.

    Each of them is added only if the settings ask for it.

    Raises:
        SettingsError: one of the settings is wrong.
    """
    app = with_cors(app, settings)
    if settings.auth == "dev":
        app = LoopbackOnly(app, settings.api_host, allowed_origins(settings))
    return app if settings.hsts_seconds is None else _WithHsts(app, settings.hsts_seconds)


class _WithHsts:
    """Adds `Strict-Transport-Security`, for deployments behind a proxy that terminates TLS."""

    def __init__(self, app: ASGIApp, seconds: int) -> None:
        self._app = app
        self._header = (b"strict-transport-security", b"max-age=%d; includeSubDomains" % seconds)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the server's start and stop."""

        async def send_with_header(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], self._header]
            await send(message)

        await self._app(scope, receive, send_with_header)

"""The edge: what every request passes before any endpoint, and what every answer is told to."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.access.auth import Authenticator
from api.access.client_address import ClientAddresses
from api.access.cors import allowed_origins, with_origins
from api.access.limits import RateLimitedAuthenticator, check_head, limited_body
from api.access.loopback import LoopbackOnly
from api.access.token_guard import GuardedAuthenticator
from streams.settings import Settings

_BODILESS = ("GET", "HEAD", "OPTIONS")
"""Nothing here reads a body that came with one of these."""


class Edge:
    """Refuses what is too much, by what the settings say; one for the whole application."""

    def __init__(self, settings: Settings) -> None:
        self._max_body_bytes = settings.max_body_bytes

    def check(self, scope: Scope, receive: Receive) -> Receive:
        """Let a request in; give the `receive` to read its body from.

        Raises:
            Problem: it is refused; it is answered by that.
        """
        check_head(scope)
        if scope["method"] in _BODILESS:
            return receive
        return limited_body(scope, receive, self._max_body_bytes)


def limited(authenticator: Authenticator, settings: Settings) -> Authenticator:
    """Return the authenticator with the limits that the settings ask for.

    Raises:
        SettingsError: one of the settings is wrong.
    """
    addresses = ClientAddresses.from_settings(settings)
    # In dev mode there are no tokens to guess.
    if settings.auth == "jwt" and settings.bad_token_rate_limit > 0:
        authenticator = GuardedAuthenticator(
            authenticator, settings.bad_token_rate_limit, addresses
        )
    if settings.rate_limit is not None:
        authenticator = RateLimitedAuthenticator(authenticator, settings.rate_limit)
    return authenticator


def with_edge(app: ASGIApp, settings: Settings) -> ASGIApp:
    """Return the application behind what only settings ask for: headers, and dev mode's guard.

    Raises:
        SettingsError: one of the settings is wrong.
    """
    app = with_origins(app, settings)
    if settings.auth == "dev":
        app = LoopbackOnly(app, settings.api_host, allowed_origins(settings))
    return app if settings.hsts_seconds is None else _OverTlsOnly(app, settings.hsts_seconds)


class _OverTlsOnly:
    """Tells browsers to come by TLS only: for where something in front of this server ends it."""

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

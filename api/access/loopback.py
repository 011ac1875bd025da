"""Dev mode's guard: only requests that name this machine's loopback are answered.

In dev mode every caller is believed. A foreign name that was made to point to this machine (DNS
rebinding) would let any page on the web read everything: to the browser, page and API would be of
one origin. So `Host` must be a loopback name or address, on every path. `Origin`, where it is sent,
must be one too, or one that `JOBTRAIL_CORS_ORIGINS` names.
"""

from __future__ import annotations

from collections.abc import Collection
from http import HTTPStatus
from ipaddress import IPv6Address, ip_address
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from api.http.languages import answer_to
from api.http.problems import Problem
from api.http.responses import send_response
from api.metrics import REQUEST_SECONDS


class NotThisMachine(Problem):
    """In dev mode, ask by a loopback name or address, such as `localhost` or `127.0.0.1`."""

    status = HTTPStatus.FORBIDDEN
    detail = "개발 모드에서는 localhost로만 접속할 수 있습니다."
    word = "not-this-machine"
    english = "In development mode, connect to localhost only."


class LoopbackOnly:
    """Refuses requests that are not for, or not from pages of, this machine's loopback.

    Args:
        host: where the API listens, which is a loopback name too.
        origins: origins of other pages that may ask.
    """

    def __init__(self, app: ASGIApp, host: str, origins: Collection[str]) -> None:
        self._app = app
        self._host = host.lower()
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the server's start and stop."""
        if scope["type"] != "http" or self._is_local(scope):
            await self._app(scope, receive, send)
            return
        answer_to(scope["headers"])
        refusal = NotThisMachine().response
        REQUEST_SECONDS.observe("refused", refusal.status, 0.0)
        await send_response(send, refusal, head=scope["method"] == "HEAD")

    def _is_local(self, scope: Scope) -> bool:
        for name, value in scope["headers"]:
            if name == b"host" and not self._names_this_machine(value.decode("latin-1")):
                return False
            if name == b"origin" and not self._may_ask(value.decode("latin-1")):
                return False
        # Without a `Host` (HTTP/1.0) it is no browser.
        return True

    def _names_this_machine(self, host: str) -> bool:
        try:
            # `urlsplit` reads more than a host: all else would be a way around.
            parts = urlsplit(f"//{host}")
            name = parts.hostname or ""
            _ = parts.port
        except ValueError:
            return False
        if parts.netloc != host or "@" in host:
            return False
        return name == self._host or is_loopback(name)

    def _may_ask(self, origin: str) -> bool:
        if origin in self._origins:
            return True
        scheme, _, host = origin.partition("://")
        return scheme in ("http", "https") and self._names_this_machine(host)


def is_loopback(name: str) -> bool:
    """Return whether a name or address is a loopback one, without asking a name server."""
    if name.removesuffix(".").rpartition(".")[2] == "localhost":
        return True
    try:
        found = ip_address(name)
    except ValueError:
        return False
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return (mapped or found).is_loopback

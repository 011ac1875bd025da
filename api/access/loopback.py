"""The host check of the dev mode: only requests to this machine's loopback are answered.

The dev mode trusts every caller. If a foreign host name pointed to this machine (DNS rebinding),
any page on the web could read everything, because to the browser the page and the API would have
the same origin. Therefore `Host` must be a loopback name or address, on every path. `Origin`, if
sent, must be one too, or be listed in `JOBTRAIL_CORS_ORIGINS`. Used by `api.access.request_guard`.
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
    """In dev mode, the host must be a loopback name or address, such as `localhost`."""

    status = HTTPStatus.FORBIDDEN
    problem_type = "not-this-machine"


class LoopbackOnly:
    """Refuses requests whose host or origin is not this machine's loopback.

    Args:
        app: the application.
        host: the name or address that the API listens on, which is accepted as `Host` too.
        origins: other origins whose pages may send requests.
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
            if name == b"host" and not self._is_local_host(value.decode("latin-1")):
                return False
            if name == b"origin" and not self._is_allowed_origin(value.decode("latin-1")):
                return False
        # A request without `Host` (HTTP/1.0) does not come from a browser.
        return True

    def _is_local_host(self, host: str) -> bool:
        try:
            # `urlsplit` accepts more than a host and port; the rest is refused below.
            parts = urlsplit(f"//{host}")
            name = parts.hostname or ""
            _ = parts.port
        except ValueError:
            return False
        if parts.netloc != host or "@" in host:
            return False
        return name == self._host or is_loopback(name)

    def _is_allowed_origin(self, origin: str) -> bool:
        if origin in self._origins:
            return True
        scheme, _, host = origin.partition("://")
        return scheme in ("http", "https") and self._is_local_host(host)


def is_loopback(name: str) -> bool:
    """Return whether a name or address is a loopback one, without a DNS query."""
    if name.removesuffix(".").rpartition(".")[2] == "localhost":
        return True
    try:
        found = ip_address(name)
    except ValueError:
        return False
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return (mapped or found).is_loopback

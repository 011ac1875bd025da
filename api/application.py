"""The ASGI application: it routes each request, answers problems, and measures and logs requests.

The endpoints for progress and for live streams are called directly, because frontends call them
most. All other paths go to the Starlette application of `api.other_routes`. Used by `api.app`.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Iterable

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.access.request_guard import RequestGuard
from api.http.languages import answer_to
from api.http.problems import InternalError, Problem
from api.http.responses import (
    NO_CONTENT_RUNS,
    NO_STORE,
    SECURITY,
    Headers,
    RawResponse,
    send_response,
)
from api.live.endpoint import TENANT_PATH, LiveEndpoint
from api.metrics import REQUEST_SECONDS
from api.progress.endpoint import ProgressEndpoint
from api.progress.paths import match_path
from api.progress.query import PATH as QUERY_PATH
from api.progress.query import QueryEndpoint

_LOG = structlog.get_logger(__name__)

_DEFAULTS: Headers = (*NO_STORE, *NO_CONTENT_RUNS, *SECURITY)
"""Headers of a response from Starlette, unless its endpoint set others of the same names."""


class Application:
    """The ASGI application, which answers every request through the endpoint of its path."""

    def __init__(
        self,
        progress: ProgressEndpoint,
        live: LiveEndpoint,
        query: QueryEndpoint,
        other_routes: ASGIApp,
        guard: RequestGuard,
        *,
        log_requests: bool,
    ) -> None:
        self._progress = progress
        self._live = live
        self._query = query
        self._other_routes = other_routes
        self._guard = guard
        self._log_requests = log_requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the server's start and stop."""
        if scope["type"] != "http":
            await self._other_routes(scope, receive, send)
            return
        start = time.perf_counter()
        try:
            receive = self._guard.check(scope, receive)
        except Problem as refused:
            route: str = "refused"
            answer: Awaitable[int] = _send_problem(scope, send, refused)
        else:
            route, answer = self._route(scope, receive, send)
        status = await answer
        seconds = time.perf_counter() - start
        if not route:
            route = getattr(scope.get("route"), "path", "none")
        elif route.endswith("/progress/") and _may_be_held(scope["query_string"]):
            route += "?wait"  # a long poll is held on purpose and must not count as slow
        REQUEST_SECONDS.observe(route, status, seconds)
        if self._log_requests:
            # Without the query, which may contain a token.
            method, path = scope["method"], scope["path"]
            _LOG.debug("request", method=method, path=path, status=status, seconds=seconds)

    def _route(self, scope: Scope, receive: Receive, send: Send) -> tuple[str, Awaitable[int]]:
        """Return the pattern of a path, and an awaitable that answers and returns the status.

        The pattern is empty if only Starlette's router can determine it.
        """
        path: str = scope["path"]
        found = match_path(path)
        if found is not None:
            if found.events:
                stream = self._live.job(scope, receive, send, found.kind, found.job_id)
                return found.route, self._stream(scope, send, stream)
            response = self._progress.respond(scope, receive, found)
            return found.route, self._answer(scope, send, response)
        bare = path.removesuffix("/")
        if bare == TENANT_PATH:
            stream = self._live.tenant(scope, receive, send)
            return TENANT_PATH, self._stream(scope, send, stream)
        if bare == QUERY_PATH:
            response = self._query.respond(scope, receive)
            return QUERY_PATH, self._answer(scope, send, response)
        return "", self._answer_other(scope, receive, send)

    async def _answer(self, scope: Scope, send: Send, answer: Awaitable[RawResponse]) -> int:
        """Send a response, or the problem that was raised instead; return the status."""
        try:
            response = await answer
        except Exception as error:
            return await _send_problem(scope, send, error)
        await send_response(send, response, head=scope["method"] == "HEAD")
        return response.status

    async def _stream(self, scope: Scope, send: Send, stream: Awaitable[int]) -> int:
        """Run a live stream to its end, or send the problem raised before it began."""
        try:
            return await stream
        except Exception as error:
            return await _send_problem(scope, send, error)

    async def _answer_other(self, scope: Scope, receive: Receive, send: Send) -> int:
        """Let Starlette answer, with the default headers; return the status."""
        answer_to(scope["headers"])
        status = InternalError.status.value
        head = scope["method"] == "HEAD"

        async def send_completed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = _with_defaults(message["headers"])
            elif head:
                message["body"] = b""
            await send(message)

        try:
            await self._other_routes(scope, receive, send_completed)
        except Exception:  # Starlette sends the answer, and raises the error again
            _LOG.exception("request_failed", route=getattr(scope.get("route"), "path", "none"))
        return status


def _may_be_held(query_string: bytes) -> bool:
    return b"wait" in query_string or b"after" in query_string


async def _send_problem(scope: Scope, send: Send, error: Exception) -> int:
    """Send the answer for an error in the request's language; return its status."""
    answer_to(scope["headers"])
    if isinstance(error, Problem):
        response = error.response
    else:
        _LOG.error("request_failed", path=scope["path"], exc_info=error)
        response = InternalError().response
    await send_response(send, response, head=scope["method"] == "HEAD")
    return response.status


def _with_defaults(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    given = list(headers)
    names = {name for name, _ in given}
    return given + [default for default in _DEFAULTS if default[0] not in names]

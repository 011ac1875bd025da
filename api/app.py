"""The ASGI application: the progress endpoints by the shortest way, all else by Starlette."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from http import HTTPStatus

import redis.asyncio
import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response as StarletteResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.auth import authenticator
from api.metrics import READ_BATCH, observe_request
from api.monitoring import monitoring_routes
from api.problems import MethodNotAllowed, NoSuchPage, OurFault, Problem, problem_response
from api.progress import ProgressEndpoint, ProgressPath, match_path
from api.responses import NO_CONTENT_RUNS, NO_STORE, SECURITY, Headers, Response, send_response
from projections.readers import DocumentReader
from streams.connection import connect_async
from streams.settings import Settings

_LOG = structlog.get_logger(__name__)

CONNECT_SECONDS = 1.0
"""How long Redis may take to accept a connection."""

_DEFAULTS: Headers = (*NO_STORE, *NO_CONTENT_RUNS, *SECURITY)
"""What a response carries unless its endpoint said otherwise."""


def create_app(settings: Settings) -> ASGIApp:
    """Make the application; nothing is sent to Redis yet.

    Raises:
        SettingsError, InvalidUrl: the settings do not allow it to start.
    """
    identify = authenticator(settings)
    client = _client(settings.require_redis_url())
    reader = DocumentReader(
        client, legacy=settings.legacy_keys == "on", on_batch=READ_BATCH.observe
    )

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        await client.aclose()

    rest = Starlette(
        routes=monitoring_routes(client),
        lifespan=lifespan,
        exception_handlers={Problem: _problem, HTTPException: _http_problem, Exception: _problem},
    )
    return Application(ProgressEndpoint(identify, reader), rest, logs=settings.log_level == "debug")


def _client(url: str) -> redis.asyncio.Redis:
    """Make a client without a timeout of its own for each step of a command.

    Who uses it limits the whole of what it does, which also costs the event loop much less.
    """
    return connect_async(url, timeout=None, connect_timeout=CONNECT_SECONDS)


class Application:
    """Chooses the way of a request, and counts and logs it once it is answered."""

    def __init__(self, progress: ProgressEndpoint, rest: ASGIApp, *, logs: bool) -> None:
        self._progress = progress
        self._rest = rest
        self._logs = logs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the server's start and stop."""
        if scope["type"] != "http":
            await self._rest(scope, receive, send)
            return
        start = time.perf_counter()
        path = match_path(scope["path"])
        if path is not None:
            route, status = path.route, await self._answer_progress(scope, send, path)
        else:
            status = await self._answer_rest(scope, receive, send)
            route = getattr(scope.get("route"), "path", "none")
        seconds = time.perf_counter() - start
        observe_request(route, status, seconds)
        if self._logs:
            # The path alone: a query may carry a token.
            method, shown = scope["method"], scope["path"]
            _LOG.debug("request", method=method, path=shown, status=status, seconds=seconds)

    async def _answer_progress(self, scope: Scope, send: Send, path: ProgressPath) -> int:
        try:
            response = await self._progress.respond(scope, path)
        except Problem as problem:
            response = problem.response
        except Exception:
            _LOG.exception("request_failed", route=path.route)
            response = OurFault().response
        await send_response(send, response, head=scope["method"] == "HEAD")
        return response.status

    async def _answer_rest(self, scope: Scope, receive: Receive, send: Send) -> int:
        status = OurFault.status.value
        head = scope["method"] == "HEAD"

        async def send_finished(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = _with_defaults(message["headers"])
            elif head:
                message["body"] = b""
            await send(message)

        try:
            await self._rest(scope, receive, send_finished)
        except Exception:  # it was answered by `_problem`, which cannot keep it from coming here
            _LOG.exception("request_failed", route=getattr(scope.get("route"), "path", "none"))
        return status


def _with_defaults(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    given = list(headers)
    names = {name for name, _ in given}
    return given + [default for default in _DEFAULTS if default[0] not in names]


def _to_starlette(response: Response) -> StarletteResponse:
    headers = {name.decode(): value.decode() for name, value in response.headers}
    return StarletteResponse(response.body, response.status, headers)


def _problem(_request: Request, error: Exception) -> StarletteResponse:
    return _to_starlette(error.response if isinstance(error, Problem) else OurFault().response)


def _http_problem(_request: Request, error: Exception) -> StarletteResponse:
    """Put what Starlette itself refuses into the form of all problems."""
    if not isinstance(error, HTTPException):
        raise error
    known = _BY_STATUS.get(error.status_code)
    headers = tuple(
        (name.lower().encode(), value.encode()) for name, value in (error.headers or {}).items()
    )
    detail = known.detail if known else error.detail
    return _to_starlette(problem_response(HTTPStatus(error.status_code), detail, headers))


_BY_STATUS: dict[int, type[Problem]] = {
    problem.status.value: problem for problem in (NoSuchPage, MethodNotAllowed)
}

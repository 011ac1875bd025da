"""The ASGI application: the progress endpoints by the shortest way, all else by Starlette."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Iterable
from contextlib import asynccontextmanager
from http import HTTPStatus

import redis.asyncio
import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response as StarletteResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.access.auth import authenticator
from api.access.request_guard import Edge, limited, with_edge
from api.http.languages import answer_to
from api.http.problems import MethodNotAllowed, NoSuchPage, OurFault, Problem, problem_response
from api.http.responses import NO_CONTENT_RUNS, NO_STORE, SECURITY, Headers, Response, send_response
from api.http.trailing_slashes import with_either_slash
from api.jobs.database import Database
from api.jobs.endpoint import job_routes
from api.live.endpoint import TENANT_PATH, Feed
from api.live.subscriptions import Hub
from api.live.waiters import Viewers
from api.metrics import READ_BATCH, REQUEST_SECONDS, watch_redis_pool
from api.monitoring import monitoring_routes
from api.operators.database import OpsDatabase
from api.operators.delivery import Desk
from api.operators.jobs import OpsJobs
from api.operators.routes import ops_routes
from api.progress.endpoint import ProgressEndpoint, match_path
from api.progress.query import PATH as QUERY_PATH
from api.progress.query import QueryEndpoint
from api.scheduling.viewer_turns import Portions
from api.spec.client_files import client_routes
from api.spec.docs_page import docs_routes
from api.spec.document import openapi_routes
from projections.reading.documents import DocumentReader
from projections.reading.feed import FeedReader
from streams.connection import connect_async
from streams.settings import Settings

_LOG = structlog.get_logger(__name__)

CONNECT_SECONDS = 1.0
"""How long Redis may take to accept a connection."""

_DEFAULTS: Headers = (*NO_STORE, *NO_CONTENT_RUNS, *SECURITY)
"""What a response carries unless its endpoint said otherwise."""


def create_app(
    settings: Settings, desk: Desk | None = None, viewers: Viewers | None = None
) -> ASGIApp:
    """Make the application; nothing is sent to Redis yet. Without a desk there is no console.

    Who is to stop it later gives the viewers, which are to stop first.

    Raises:
        SettingsError, InvalidUrl: the settings do not allow it to start.
    """
    identify = limited(authenticator(settings), settings)
    client = _client(settings.require_redis_url())
    watch_redis_pool(client)
    reader = DocumentReader(
        client, legacy=settings.legacy_keys == "on", on_batch=READ_BATCH.observe
    )

    if viewers is None:
        viewers = Viewers(settings.max_streams_per_tenant)
    hub, portions = Hub(client), Portions()
    feed = Feed(identify, viewers, hub, reader, FeedReader(client, reader), portions)

    database = Database.from_settings(settings)
    ops_database = OpsDatabase(settings.database_url)
    ops_jobs = OpsJobs(
        ops_database.connection, reader, stalled_after_seconds=settings.stalled_after_seconds
    )
    operators = ops_routes(settings, identify, desk, ops_jobs)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        database.announce()
        always = [asyncio.create_task(work) for work in (hub.run(), viewers.beat())]
        yield
        viewers.stop()
        for task in always:
            task.cancel()
        await asyncio.gather(*always, return_exceptions=True)
        await client.aclose()
        await ops_database.close()
        await database.close()

    rest = Starlette(
        routes=[
            *with_either_slash(monitoring_routes(client, database)),
            *with_either_slash(openapi_routes(settings.auth, desk=desk is not None)),
            *with_either_slash(job_routes(identify, database)),
            *client_routes(),
            *docs_routes(),
            *operators,
        ],
        lifespan=lifespan,
        exception_handlers={Problem: _problem, HTTPException: _http_problem, Exception: _problem},
    )
    rest.router.redirect_slashes = False  # see `api.http.trailing_slashes`
    app = Application(
        ProgressEndpoint(identify, reader, viewers, hub, portions),
        feed,
        QueryEndpoint(identify, reader),
        rest,
        Edge(settings),
        logs=settings.log_level == "debug",
    )
    return with_edge(app, settings)


def _client(url: str) -> redis.asyncio.Redis:
    """Make a client without a timeout of its own for each step of a command.

    Who uses it limits the whole of what it does, which also costs the event loop much less.
    """
    return connect_async(url, timeout=None, connect_timeout=CONNECT_SECONDS)


class Application:
    """Chooses the way of a request, and counts and logs it once it is answered."""

    def __init__(
        self,
        progress: ProgressEndpoint,
        feed: Feed,
        query: QueryEndpoint,
        rest: ASGIApp,
        edge: Edge,
        *,
        logs: bool,
    ) -> None:
        self._progress = progress
        self._feed = feed
        self._query = query
        self._rest = rest
        self._edge = edge
        self._logs = logs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the server's start and stop."""
        if scope["type"] != "http":
            await self._rest(scope, receive, send)
            return
        start = time.perf_counter()
        try:
            receive = self._edge.check(scope, receive)
        except Problem as refused:
            route: str = "refused"
            answer: Awaitable[int] = _send_instead(scope, send, refused)
        else:
            route, answer = self._way(scope, receive, send)
        status = await answer
        seconds = time.perf_counter() - start
        if not route:
            route = getattr(scope.get("route"), "path", "none")
        elif b"wait" in scope["query_string"] and route.endswith("/progress/"):
            route += "?wait"  # or what is held back on purpose would count as slow
        REQUEST_SECONDS.observe(route, status, seconds)
        if self._logs:
            # The path alone: a query may carry a token.
            method, shown = scope["method"], scope["path"]
            _LOG.debug("request", method=method, path=shown, status=status, seconds=seconds)

    def _way(self, scope: Scope, receive: Receive, send: Send) -> tuple[str, Awaitable[int]]:
        """Return the pattern of a path, and what answers the request and returns the status.

        The pattern is empty where the router has to find it.
        """
        path: str = scope["path"]
        found = match_path(path)
        if found is not None:
            if found.events:
                stream = self._feed.job(scope, receive, send, found.kind, found.job_id)
                return found.route, self._streamed(scope, send, stream)
            response = self._progress.respond(scope, receive, found)
            return found.route, self._answered(scope, send, response)
        bare = path.removesuffix("/")
        if bare == TENANT_PATH:
            stream = self._feed.tenant(scope, receive, send)
            return TENANT_PATH, self._streamed(scope, send, stream)
        if bare == QUERY_PATH:
            response = self._query.respond(scope, receive)
            return QUERY_PATH, self._answered(scope, send, response)
        return "", self._answer_rest(scope, receive, send)

    async def _answered(self, scope: Scope, send: Send, answer: Awaitable[Response]) -> int:
        """Send an answer, or the problem that comes instead; return its status."""
        try:
            response = await answer
        except Exception as error:
            return await _send_instead(scope, send, error)
        await send_response(send, response, head=scope["method"] == "HEAD")
        return response.status

    async def _streamed(self, scope: Scope, send: Send, stream: Awaitable[int]) -> int:
        """Let a stream run to its end; as long as it has not begun, a problem may come instead."""
        try:
            return await stream
        except Exception as error:
            return await _send_instead(scope, send, error)

    async def _answer_rest(self, scope: Scope, receive: Receive, send: Send) -> int:
        answer_to(scope["headers"])
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


async def _send_instead(scope: Scope, send: Send, error: Exception) -> int:
    """Send the problem in the place of an answer, in the request's language; return its status."""
    answer_to(scope["headers"])
    if isinstance(error, Problem):
        response = error.response
    else:
        _LOG.error("request_failed", path=scope["path"], exc_info=error)
        response = OurFault().response
    await send_response(send, response, head=scope["method"] == "HEAD")
    return response.status


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
    if known is not None:
        return _to_starlette(known().response_with(headers))
    status = HTTPStatus(error.status_code)
    return _to_starlette(problem_response(status, "http-error", error.detail, headers))


_BY_STATUS: dict[int, type[Problem]] = {
    problem.status.value: problem for problem in (NoSuchPage, MethodNotAllowed)
}

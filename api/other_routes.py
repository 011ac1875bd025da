"""The Starlette application for all paths except progress and live streams. Used by `api.app`.

It turns every exception, including Starlette's own, into an answer in the form of problems.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.http.problems import InternalError, MethodNotAllowed, NoSuchPage, Problem, problem_response
from api.http.responses import RawResponse

Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]


def other_routes(routes: Sequence[Route], lifespan: Lifespan) -> Starlette:
    """Return the application with these routes; it enters the lifespan before the first request."""
    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={Problem: _problem, HTTPException: _http_problem, Exception: _problem},
    )
    app.router.redirect_slashes = False  # see `api.http.trailing_slashes`
    return app


def _to_starlette(response: RawResponse) -> Response:
    headers = {name.decode(): value.decode() for name, value in response.headers}
    return Response(response.body, response.status, headers)


def _problem(_request: Request, error: Exception) -> Response:
    return _to_starlette(error.response if isinstance(error, Problem) else InternalError().response)


def _http_problem(_request: Request, error: Exception) -> Response:
    """Return the answer to an error that Starlette raised."""
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

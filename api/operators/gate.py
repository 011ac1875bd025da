"""Routes for operators only: access control, time limit and form of all operators' answers.

Against cross-site request forgery, actions require the header `X-Jobtrail-Console`. A browser sends
such a header for a page of another origin only if the CORS rules of this server allow it, and they
never do (`api.access.cors`). Used by `api.operators` and `api.spec.operations.operator_operation`.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus

import psycopg
import redis
import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.access.auth import OPS, OPS_READ, Authenticator, Caller
from api.access.callers import caller_of
from api.http.etags import etag_of, is_not_modified
from api.http.problems import Forbidden, Problem, TryLater
from api.http.responses import json_bytes
from api.scheduling.bounded_wait import wait_shielded
from api.scheduling.single_flight import SingleFlight
from streams.connection import is_outage, refuses_writes
from streams.runtime.safe_text import one_line

_LOG = structlog.get_logger(__name__)

ACTION_HEADER = "x-jobtrail-console"

ANSWER_SECONDS = 8.2
"""The time limit for an answer; after it, the caller gets a 503. The work is not cancelled: it ends
within the time limits of the connection that it uses. The console waits for 12 s."""

NOW_HEADER = "x-jobtrail-now"
"""The header with the server's time in milliseconds since 1970. It is not in the body, so that the
entity tag does not change with it."""

Read = Callable[[Request], Awaitable[object]]
Act = Callable[[Request, Caller], Awaitable[object]]

_NOT_PERMITTED = (
    redis.exceptions.NoPermissionError,
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.UndefinedTable,
)
"""Errors of a server that lacks the migrations or the permissions that jobtrail needs."""


class ReadOnly(Problem):
    """The caller may read as an operator, but the scope `ops:read` permits no action."""

    status = HTTPStatus.FORBIDDEN
    problem_type = "read-only"


def may_act(caller: Caller) -> bool:
    """Return whether an operator may change something."""
    return OPS in caller.scopes


class Gate:
    """Makes the routes that only operators can use.

    Args:
        authenticator: identifies the callers.
    """

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator
        self._reads = SingleFlight[object]()

    def admit(self, request: Request) -> Caller:
        """Return the caller, who is an operator.

        Raises:
            Forbidden: the caller is not an operator.
            BadCredentials, TenantMissing: as raised by the authenticator.
        """
        caller = caller_of(self._authenticator, request.scope)
        # A token that is limited to some jobs has no access to all tenants, whatever its scope.
        if caller.scopes.isdisjoint((OPS, OPS_READ)) or caller.allowed_ids is not None:
            raise Forbidden
        return caller

    def admit_to_act(self, request: Request) -> Caller:
        """Return the caller, who is an operator and may change something.

        Raises:
            ReadOnly: the caller is an operator who may only read.
            Forbidden: the caller is not an operator, or the header of actions is missing.
            BadCredentials, TenantMissing: as raised by the authenticator.
        """
        caller = self.admit(request)
        if not may_act(caller):
            raise ReadOnly
        if ACTION_HEADER not in request.headers:
            raise Forbidden
        return caller

    def read_route(self, path: str, read: Read, *, shared: bool = True) -> Route:
        """Return the route of a read, whose JSON result gets an entity tag.

        Equal requests at the same time share one read, unless `shared` is False. That is for
        answers that depend on the caller.
        """

        async def endpoint(request: Request) -> Response:
            self.admit(request)
            return _tagged(request, await _result(started(request)))

        def started(request: Request) -> Awaitable[object]:
            if not shared:
                return read(request)
            key = request.scope["path"], request.scope["query_string"]
            return self._reads.run(key, lambda: read(request))

        return Route(path, endpoint, methods=["GET"])

    def action_route(self, path: str, act: Act) -> Route:
        """Return the route of an action with a JSON result."""

        async def endpoint(request: Request) -> Response:
            caller = self.admit_to_act(request)
            try:
                return _json(json_bytes(await _result(act(request, caller))))
            finally:
                # A read that began before must not answer a caller who has seen the action done.
                self._reads.forget()

        return Route(path, endpoint, methods=["POST"])


async def _result(work: Awaitable[object]) -> object:
    """Return the result of the work.

    Raises:
        TryLater: a server is unavailable, which `missing` names, or `ANSWER_SECONDS` have passed.
        redis.RedisError, psycopg.Error: a server refused a command as wrong, which is an error of
            this program; the caller gets a 500, and the log has the traceback.
    """
    try:
        return await wait_shielded(work, ANSWER_SECONDS)
    except TimeoutError:
        raise TryLater from None
    except (redis.RedisError, psycopg.Error) as error:
        if isinstance(error, _NOT_PERMITTED):
            _LOG.warning("operators_read_refused", error=one_line(error))
        elif not _is_unavailable(error):
            raise
        server = "postgresql" if isinstance(error, psycopg.Error) else "redis"
        raise TryLater(missing=[server]) from None


def _is_unavailable(error: redis.RedisError | psycopg.Error) -> bool:
    """Return whether an error says that the server cannot be used now."""
    if isinstance(error, psycopg.Error):
        return isinstance(error, psycopg.OperationalError)
    lost = isinstance(error, redis.ConnectionError | redis.TimeoutError)
    return lost or is_outage(error) or refuses_writes(error)


def _tagged(request: Request, value: object) -> Response:
    body = json_bytes(value)
    tag = etag_of(body)
    known = is_not_modified(request.scope["headers"], tag)
    response = Response(status_code=304) if known else _json(body)
    response.headers["etag"] = tag.decode()
    response.headers["cache-control"] = "private, no-cache"
    response.headers[NOW_HEADER] = str(time.time_ns() // 1_000_000)
    return response


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")

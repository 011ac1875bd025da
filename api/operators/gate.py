"""Access control and the form of answers for all operators' endpoints.

Actions require the header `X-Jobtrail-Console`: a page of another origin could send it only with
permission through CORS, which never lists it. Used by `operators.routes` and `operators.jobs`.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import psycopg
import redis
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.access.auth import OPS, Authenticator, Caller
from api.access.callers import caller_of
from api.http.etags import etag_of, is_known
from api.http.problems import Forbidden, TryLater
from api.http.responses import json_bytes
from api.scheduling.bounded_wait import wait_shielded

HEADER = "x-jobtrail-console"

ANSWER_SECONDS = 4.2
"""The time limit for an answer; the work has deadlines of its own and ends by them."""

NOW = "x-jobtrail-now"
"""The header with the server's time in milliseconds since 1970. It is not in the body, so that the
entity tag does not change with it."""

Read = Callable[[Request], Awaitable[object]]
Act = Callable[[Request, Caller], Awaitable[object]]


class Gate:
    """Makes routes that only operators can use.

    Args:
        authenticator: identifies the callers.
    """

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    def admit(self, request: Request) -> Caller:
        """Return the caller, if they are an operator.

        Raises:
            Forbidden: the caller is not an operator.
            BadCredentials, TenantMissing: as raised by the authenticator.
        """
        caller = caller_of(self._authenticator, request.scope)
        # A token that is limited to some jobs has no access to all tenants, whatever its scope.
        if OPS not in caller.scopes or caller.only is not None:
            raise Forbidden
        return caller

    def reading(self, path: str, read: Read) -> Route:
        """Return the route of a read, whose JSON result gets an entity tag."""

        async def endpoint(request: Request) -> Response:
            self.admit(request)
            return _tagged(request, await _result(read(request)))

        return Route(path, endpoint, methods=["GET"])

    def acting(self, path: str, act: Act) -> Route:
        """Return the route of an action with a JSON result."""

        async def endpoint(request: Request) -> Response:
            caller = self.admit(request)
            if HEADER not in request.headers:
                raise Forbidden
            return _json(json_bytes(await _result(act(request, caller))))

        return Route(path, endpoint, methods=["POST"])


async def _result(work: Awaitable[object]) -> object:
    """Return the result of some work; raise TryLater with the name of an unavailable server."""
    try:
        return await wait_shielded(work, ANSWER_SECONDS)
    except TimeoutError:
        raise TryLater from None
    except redis.RedisError:
        raise TryLater(missing=["redis"]) from None
    except psycopg.Error:
        raise TryLater(missing=["postgresql"]) from None


def _tagged(request: Request, value: object) -> Response:
    body = json_bytes(value)
    tag = etag_of(body)
    known = is_known(request.scope["headers"], tag)
    response = Response(status_code=304) if known else _json(body)
    response.headers["etag"] = tag.decode()
    response.headers["cache-control"] = "private, no-cache"
    response.headers[NOW] = str(time.time_ns() // 1_000_000)
    return response


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")

"""The operators' gate: who may ask, and answers in one form.

An action needs the header `X-Jobtrail-Console`, which a page of another origin cannot send without
being allowed to by CORS, and it never is.
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
from api.scheduling.bounded_wait import within

HEADER = "x-jobtrail-console"
ANSWER_SECONDS = 4.2
"""The time limit for an answer; work that hangs has deadlines of its own."""

NOW = "x-jobtrail-now"
"""The server's clock in milliseconds since 1970; beside the body, so that its tag stands still."""

Read = Callable[[Request], Awaitable[object]]
Act = Callable[[Request, Caller], Awaitable[object]]


class Gate:
    """Lets operators in."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    def admit(self, request: Request) -> Caller:
        """Tell who asks.

        Raises:
            Forbidden: it is not an operator.
            BadCredentials, TenantMissing: as the authenticator says.
        """
        caller = caller_of(self._authenticator, request.scope)
        # A token that is narrowed to some jobs says less than its scope does.
        if OPS not in caller.scopes or caller.only is not None:
            raise Forbidden
        return caller

    def reading(self, path: str, read: Read) -> Route:
        """Give the route of something to read, with a tag."""

        async def endpoint(request: Request) -> Response:
            self.admit(request)
            return _tagged(request, await _patiently(read(request)))

        return Route(path, endpoint, methods=["GET"])

    def acting(self, path: str, act: Act) -> Route:
        """Give the route of something to do."""

        async def endpoint(request: Request) -> Response:
            caller = self.admit(request)
            if HEADER not in request.headers:
                raise Forbidden
            return _json(json_bytes(await _patiently(act(request, caller))))

        return Route(path, endpoint, methods=["POST"])


async def _patiently(work: Awaitable[object]) -> object:
    """Wait for an answer, and say which server is away where one is."""
    try:
        return await within(ANSWER_SECONDS, work)
    except TimeoutError:
        raise TryLater from None
    except redis.RedisError:
        raise TryLater(missing=["redis"]) from None
    except psycopg.Error:
        raise TryLater(missing=["postgresql"]) from None


def _tagged(request: Request, facts: object) -> Response:
    body = json_bytes(facts)
    tag = etag_of(body)
    known = is_known(request.scope["headers"], tag)
    response = Response(status_code=304) if known else _json(body)
    response.headers["etag"] = tag.decode()
    response.headers["cache-control"] = "private, no-cache"
    response.headers[NOW] = str(time.time_ns() // 1_000_000)
    return response


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")

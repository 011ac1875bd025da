"""Limits on the size, the duration and the rate of requests.

Used by `api.access`, `api.live.waiters`, `api.progress.query`, `api.spec.document` and
`api.spec.operations`. Sizes are in bytes, times in seconds, rates in requests per second. The HTTP
server has higher limits (100 header fields, 64 KiB for the URL, about 400 KiB for a request's head,
30 s for receiving it); beyond those it refuses the request itself, without a body.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Hashable
from http import HTTPStatus
from itertools import chain

from starlette.types import Message, Receive, Scope

from api.access.auth import Authenticator, Caller
from api.http.problems import Problem
from api.http.responses import RawResponse

MAX_URL_BYTES = 8_192
MAX_HEADERS = 64
MAX_HEADER_BYTES = 16_384
"""For all names and values together; enough for a token that lists several hundred ids."""

BODY_SECONDS = 10.0
"""The time limit for receiving a request's body."""

BURST_SECONDS = 2.0
"""The size of a burst: the requests that a rate allows in this time, but at least one."""

MAX_BUCKETS = 65_536
"""The most token buckets that are kept. Beyond, the least recently used ones are dropped, which
makes them full again."""


class UrlTooLong(Problem):
    """The URL is too long."""

    status = HTTPStatus.REQUEST_URI_TOO_LONG
    problem_type = "url-too-long"


class HeadersTooLarge(Problem):
    """The header fields are too many or too long."""

    status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    problem_type = "headers-too-large"


class BodyTooLarge(Problem):
    """The request body is too large; the server closes the connection without reading the rest."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    problem_type = "body-too-large"
    headers = ((b"connection", b"close"),)


class BodyTooSlow(Problem):
    """The request body did not arrive in time."""

    status = HTTPStatus.REQUEST_TIMEOUT
    problem_type = "body-too-slow"
    headers = ((b"connection", b"close"),)


class NotJson(Problem):
    """The media type of the request body is not `application/json`."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    problem_type = "not-json"
    headers = ((b"accept", b"application/json"),)


class TooManyRequests(Problem):
    """Too many requests; retry after the number of seconds in `Retry-After`.

    Args:
        seconds: the time until the next request is accepted.
    """

    status = HTTPStatus.TOO_MANY_REQUESTS
    problem_type = "too-many-requests"

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    @property
    def response(self) -> RawResponse:
        """The answer, with `Retry-After` in full seconds."""
        wait = (b"retry-after", b"%d" % max(1, math.ceil(self._seconds)))
        return self.response_with((wait,))


_ACCEPTED_TYPES = (b"application/json", b"", b"application/x-www-form-urlencoded")
"""Media types of JSON bodies. The last one is what `curl -d` sends with every body."""


def check_head(scope: Scope) -> None:
    """Check the size of a request's URL and header fields.

    Raises:
        UrlTooLong, HeadersTooLarge: a limit is exceeded.
    """
    raw_path = scope.get("raw_path") or scope["path"]
    if len(raw_path) + len(scope["query_string"]) > MAX_URL_BYTES:
        raise UrlTooLong
    headers = scope["headers"]
    if len(headers) > MAX_HEADERS or sum(map(len, chain.from_iterable(headers))) > MAX_HEADER_BYTES:
        raise HeadersTooLarge


def check_json(scope: Scope) -> None:
    """Check that the media type of a request's body may be JSON.

    Raises:
        NotJson: the media type is another one.
    """
    sent = dict(scope["headers"]).get(b"content-type", b"")
    if sent.partition(b";")[0].strip().lower() not in _ACCEPTED_TYPES:
        raise NotJson


def limited_body(scope: Scope, receive: Receive, limit: int) -> Receive:
    """Return a `receive` that limits the size and the duration of a request's body.

    It raises BodyTooLarge when the body exceeds `limit` bytes, and BodyTooSlow when the body is not
    complete in `BODY_SECONDS`.

    Raises:
        BodyTooLarge: `Content-Length` exceeds the limit.
    """
    declared = dict(scope["headers"]).get(b"content-length", b"0")
    # The HTTP server has refused a value that is not a number.
    if declared.isdigit() and int(declared) > limit:
        raise BodyTooLarge
    return _LimitedBody(receive, limit)


class _LimitedBody:
    """A `receive` with a size limit, and a time limit that starts when the object is made."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._left = limit
        self._deadline = asyncio.get_running_loop().time() + BODY_SECONDS
        self._complete = False

    async def __call__(self) -> Message:
        if self._complete:  # the next message says that the client has disconnected
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            raise BodyTooSlow from None
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise BodyTooLarge
        self._complete = not message.get("more_body", False)
        return message


class Buckets:
    """Token buckets by key.

    Args:
        rate: the tokens per second that each bucket gets.
        clock: a monotonic clock.
        burst_seconds: a full bucket holds the tokens of this time, but at least one.
    """

    def __init__(
        self,
        rate: float,
        clock: Callable[[], float] = time.monotonic,
        burst_seconds: float = BURST_SECONDS,
    ) -> None:
        self._interval = 1 / rate
        self._slack = max(burst_seconds - self._interval, 0.0)
        self._clock = clock
        self._full_at: dict[Hashable, float] = {}
        """When each bucket will be full again, which is its complete state."""

    def take(self, key: Hashable) -> float:
        """Take a token if there is one.

        Returns:
            0.0 if a token was taken, otherwise the seconds until there will be one.
        """
        now = self._clock()
        full_at = max(self._full_at.pop(key, now), now)
        wait = full_at - now - self._slack
        self._full_at[key] = full_at if wait > 0 else full_at + self._interval
        if len(self._full_at) > MAX_BUCKETS:
            del self._full_at[next(iter(self._full_at))]
        return max(wait, 0.0)


class RateLimitedAuthenticator:
    """An authenticator that limits the requests of each caller, independently of other callers.

    Args:
        inner: the authenticator that identifies callers.
        rate: the requests per second that each caller may send.
    """

    def __init__(self, inner: Authenticator, rate: float) -> None:
        self._inner = inner
        self._buckets = Buckets(rate)

    def identify(self, authorization: str | None, tenant: str | None, scope: Scope) -> Caller:
        """Return the caller.

        Raises:
            TooManyRequests: the caller exceeds the rate.
            BadCredentials, TenantMissing: as raised by the inner authenticator.
        """
        caller = self._inner.identify(authorization, tenant, scope)
        # By identity, because a header has many spellings.
        wait = self._buckets.take((caller.tenant, caller.identity))
        if wait:
            raise TooManyRequests(wait)
        return caller

"""Limits: what is refused before anything reads it, because it is too big, too slow or too often.

Sizes are in bytes, times in seconds, rates in requests a second. The HTTP server has limits of its
own above these (100 header fields, 64 KiB of URL, some 400 KiB of a head, 30 s for one); what is
beyond those it refuses by itself, without a body.
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
from api.http.responses import Response

MAX_URL_BYTES = 8_192
MAX_HEADERS = 64
MAX_HEADER_BYTES = 16_384
"""Of all names and values together; a narrowed token of some hundred ids fits."""

BODY_SECONDS = 10.0
"""How long a request's body may take to arrive."""

BURST_SECONDS = 2.0
"""What a rate allows at once: so many seconds' worth, one request at the least."""

REMEMBERED_KEYS = 65_536
"""Buckets kept; of more, those that were longest not asked for count as full again."""


class UrlTooLong(Problem):
    """Ask with a shorter URL."""

    status = HTTPStatus.REQUEST_URI_TOO_LONG
    detail = "요청 주소가 너무 깁니다."
    word = "url-too-long"
    english = "The request URL is too long."


class HeadersTooLarge(Problem):
    """Send fewer or shorter header fields."""

    status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    detail = "요청 헤더가 너무 큽니다."
    word = "headers-too-large"
    english = "The request headers are too large."


class BodyTooLarge(Problem):
    """Send less at once; the rest of what is under way is not read."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    detail = "요청 본문이 너무 큽니다."
    word = "body-too-large"
    english = "The request body is too large."
    headers = ((b"connection", b"close"),)


class BodyTooSlow(Problem):
    """Send it faster."""

    status = HTTPStatus.REQUEST_TIMEOUT
    detail = "요청 본문이 제시간에 도착하지 않았습니다."
    word = "body-too-slow"
    english = "The request body did not arrive in time."
    headers = ((b"connection", b"close"),)


class NotJson(Problem):
    """Send `application/json`."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    detail = "application/json 본문만 받습니다."
    word = "not-json"
    english = "Only application/json bodies are accepted."
    headers = ((b"accept", b"application/json"),)


class TooManyRequests(Problem):
    """Wait for as long as `Retry-After` says."""

    status = HTTPStatus.TOO_MANY_REQUESTS
    detail = "요청이 너무 많습니다. 잠시 후 다시 시도해 주세요."
    word = "too-many-requests"
    english = "Too many requests. Try again in a moment."

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    @property
    def response(self) -> Response:
        """Give the answer, with whole seconds to wait."""
        wait = (b"retry-after", b"%d" % max(1, math.ceil(self._seconds)))
        return self.response_with((wait,))


_MAY_BE_JSON = (b"application/json", b"", b"application/x-www-form-urlencoded")
"""The last is what `curl -d` says of any body."""


def check_head(scope: Scope) -> None:
    """Refuse a URL or header fields that nobody needs so many of.

    Raises:
        UrlTooLong, HeadersTooLarge: they are.
    """
    raw_path = scope.get("raw_path") or scope["path"]
    if len(raw_path) + len(scope["query_string"]) > MAX_URL_BYTES:
        raise UrlTooLong
    headers = scope["headers"]
    if len(headers) > MAX_HEADERS or sum(map(len, chain.from_iterable(headers))) > MAX_HEADER_BYTES:
        raise HeadersTooLarge


def check_json(scope: Scope) -> None:
    """Refuse a body that is said to be something else than JSON.

    Raises:
        NotJson: it is.
    """
    sent = dict(scope["headers"]).get(b"content-type", b"")
    if sent.partition(b";")[0].strip().lower() not in _MAY_BE_JSON:
        raise NotJson


def limited_body(scope: Scope, receive: Receive, limit: int) -> Receive:
    """Give a `receive` that hands on a body of `limit` bytes at most, in time.

    Raises:
        BodyTooLarge: it is said to be larger; the same comes from the `receive` where it proves so.
        BodyTooSlow: from the `receive`, when the time is over.
    """
    said = dict(scope["headers"]).get(b"content-length", b"0")
    # Not a number at all never comes here: the HTTP server refuses that.
    if said.isdigit() and int(said) > limit:
        raise BodyTooLarge
    deadline = asyncio.get_running_loop().time() + BODY_SECONDS
    left: int | None = limit

    async def receive_limited() -> Message:
        nonlocal left
        if left is None:  # the body is all here: what is waited for is the client's going away
            return await receive()
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError:
            raise BodyTooSlow from None
        left -= len(message.get("body", b""))
        if left < 0:
            raise BodyTooLarge
        if not message.get("more_body", False):
            left = None
        return message

    return receive_limited


class Buckets:
    """Token buckets by key: each gives `rate` a second, and `BURST_SECONDS` worth at once."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = 1 / rate
        self._slack = max(BURST_SECONDS - self._interval, 0.0)
        self._clock = clock
        self._free_at: dict[Hashable, float] = {}
        """When a key's bucket would be full again: one number says all of a bucket."""

    def take(self, key: Hashable) -> float:
        """Take one of a key's; 0.0 where there was one, else the seconds until there will be."""
        now = self._clock()
        free_at = max(self._free_at.pop(key, now), now)
        wait = free_at - now - self._slack
        self._free_at[key] = free_at if wait > 0 else free_at + self._interval
        if len(self._free_at) > REMEMBERED_KEYS:
            del self._free_at[next(iter(self._free_at))]
        return max(wait, 0.0)


class RateLimitedAuthenticator:
    """Lets each caller of a tenant ask so often; none is slowed by another who asks too often."""

    def __init__(self, inner: Authenticator, rate: float) -> None:
        self._inner = inner
        self._buckets = Buckets(rate)

    def identify(self, authorization: str | None, tenant: str | None, scope: Scope) -> Caller:
        """Identify the caller.

        Raises:
            TooManyRequests: the caller has asked too often; and whatever else the inner one raises.
        """
        caller = self._inner.identify(authorization, tenant, scope)
        # By who asks, not by the header's text, which has many spellings.
        wait = self._buckets.take((caller.tenant, caller.identity))
        if wait:
            raise TooManyRequests(wait)
        return caller

"""The endpoint of one job's progress, which frontends poll.

It answers without a framework, because this is the most frequent request, and reads Redis only.
With `?wait=` a poll is a *long poll*: the answer is held until the state differs from the caller's
ETag, or until a job that does not exist yet does. Called by `api.application`.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from functools import partial
from urllib.parse import parse_qs

import redis
import structlog
from starlette.types import Receive, Scope

from api.access.auth import Authenticator
from api.access.callers import MAX_FIELDS, caller_of
from api.answers.rendered import Rendered, rendered
from api.http.etags import known_tags, matches
from api.http.problems import BadRequest, MethodNotAllowed, NoSuchJob, TryLater
from api.http.responses import RawResponse
from api.live.subscriptions import Subscriptions
from api.live.waiters import Waiters, finish_on_disconnect
from api.progress.paths import ProgressPath
from api.scheduling.event_loop_throttle import EventLoopThrottle
from projections.reading.documents import DocumentReader
from projections.reading.feed import feed_name
from streams.keys import JOB_ID, JobKey

_LOG = structlog.get_logger(__name__)

WARNING_INTERVAL = 5.0
"""Seconds between two warnings that Redis is unavailable, which every request notices."""

MAX_WAIT_SECONDS = 30.0

_NUMBER = re.compile(r"-?[0-9]{1,20}(\.[0-9]{0,20})?([eE][+-]?[0-9]{1,3})?\Z")

Read = Callable[[], Awaitable[Rendered | None]]


class ProgressEndpoint:
    """Answers progress requests."""

    def __init__(
        self,
        authenticator: Authenticator,
        documents: DocumentReader,
        waiters: Waiters,
        subscriptions: Subscriptions,
        throttle: EventLoopThrottle,
    ) -> None:
        self._authenticator = authenticator
        self._documents = documents
        self._waiters = waiters
        self._subscriptions = subscriptions
        self._throttle = throttle
        self._next_warning = float("-inf")

    async def respond(self, scope: Scope, receive: Receive, path: ProgressPath) -> RawResponse:
        """Return the answer to a request.

        Raises:
            Problem: the answer if there is no state to return.
        """
        if scope["method"] not in ("GET", "HEAD"):
            raise MethodNotAllowed
        caller = caller_of(self._authenticator, scope)
        wait = wait_of(scope["query_string"]) if scope["query_string"] else 0.0
        if wait:  # not longer than the token is valid
            wait = min(wait, max(0.0, caller.expires - time.time()))
        kind, job_id, _ = path
        if not JOB_ID.match(job_id):
            raise NoSuchJob
        job = JobKey(caller.tenant, kind.name, job_id)
        may_read = caller.may_read(kind.name, job_id)
        known = known_tags(scope["headers"])
        try:
            if wait:
                state, known = await self._long_poll(job, known, wait, receive, may_read=may_read)
            else:
                documents = await self._documents.read(job) if may_read else None
                state = documents and rendered(job, documents)
        except redis.RedisError as error:
            self._warn(error)
            raise TryLater from None
        if state is None:
            raise NoSuchJob
        if _is_news(state, known):
            return RawResponse(200, state.headers, state.body)
        return RawResponse(304, state.headers, b"")

    async def _long_poll(
        self,
        job: JobKey,
        known: bytes | None,
        wait: float,
        receive: Receive,
        *,
        may_read: bool,
    ) -> tuple[Rendered | None, bytes | None]:
        """Return the state once it is news or `wait` seconds have passed, and the known tags.

        No tags are known if there was no state at first: any state is news then.
        """
        await self._throttle.admit(job.tenant)
        read = partial(self._state, job, may_read=may_read)
        state = await read()
        if state is None:
            known = None
        if _is_news(state, known):
            return state, known
        return await self._wait_for_news(job, read, known, wait, receive), known

    async def _wait_for_news(
        self, job: JobKey, read: Read, known: bytes | None, wait: float, receive: Receive
    ) -> Rendered | None:
        """Return the state once it is news, or as it is after `wait` seconds."""
        with self._waiters.register(job.tenant) as waiter:
            watching = asyncio.ensure_future(finish_on_disconnect(receive, waiter))
            timer = asyncio.get_running_loop().call_later(wait, waiter.finish)
            try:
                async with self._subscriptions.watch(job.tenant, feed_name(job), waiter):
                    while True:
                        waiter.changed = False
                        state = await read()
                        if waiter.finished or _is_news(state, known):
                            return state
                        await waiter.wait()
            finally:
                timer.cancel()
                watching.cancel()

    async def _state(self, job: JobKey, *, may_read: bool) -> Rendered | None:
        # A job that the caller may not read takes the same time as one that does not exist.
        documents = await self._documents.read(job) if may_read else None
        await self._throttle.admit(job.tenant)
        return documents and rendered(job, documents)

    def _warn(self, error: redis.RedisError) -> None:
        now = time.monotonic()
        if now >= self._next_warning:
            self._next_warning = now + WARNING_INTERVAL
            _LOG.warning("redis_unavailable", error=str(error))


def wait_of(query_string: bytes) -> float:
    """Return the seconds that a request may be held; 0 without `wait`.

    Raises:
        BadRequest: `wait` is not a number from 0 to 30, or is repeated.
    """
    if b"wait" not in query_string and b"%" not in query_string:
        return 0.0
    try:
        values = parse_qs(
            query_string.decode("latin-1"), keep_blank_values=True, max_num_fields=MAX_FIELDS
        ).get("wait", ["0"])
    except ValueError:
        raise BadRequest(parameter="*") from None
    if len(values) == 1 and _NUMBER.match(values[0]):
        wait = float(values[0])
        if 0 <= wait <= MAX_WAIT_SECONDS:
            return wait
    raise BadRequest(parameter="wait")


def _is_news(state: Rendered | None, known: bytes | None) -> bool:
    """Return whether there is a state that `If-None-Match` does not match."""
    return state is not None and (known is None or not matches(known, state.etag))

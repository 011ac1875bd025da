"""The endpoint of one job's progress, which frontends poll.

It answers without a framework, because this is the most frequent request, and reads Redis only.
With `?wait=` a poll is a *long poll*: the answer is held until the state differs from the caller's
ETag, or until a job that does not exist yet does. With `?after=` it is held until the projection
has settled that entry. Used by `api.app` and `api.application`.
"""

from __future__ import annotations

import time

import redis
import structlog
from starlette.types import Receive, Scope

from api.access.auth import Authenticator
from api.access.callers import caller_of
from api.answers.rendered import rendered
from api.http.etags import known_tags
from api.http.problems import MethodNotAllowed, NoSuchJob, TryLater
from api.http.responses import Headers, RawResponse
from api.progress.long_polls import Found, LongPolls, Poll, is_news
from api.progress.parameters import NO_HOLD, Hold, hold_of
from api.progress.paths import ProgressPath
from projections.reading.documents import DocumentReader
from streams.keys import JOB_ID, JobKey

_LOG = structlog.get_logger(__name__)

WARNING_INTERVAL = 5.0
"""Seconds between two warnings that Redis is unavailable, which every request notices."""

_REFLECTED: Headers = ((b"jobtrail-after", b"reflected"),)
_PENDING: Headers = ((b"jobtrail-after", b"pending"),)


class ProgressEndpoint:
    """Answers progress requests."""

    def __init__(
        self, authenticator: Authenticator, documents: DocumentReader, long_polls: LongPolls
    ) -> None:
        self._authenticator = authenticator
        self._documents = documents
        self._long_polls = long_polls
        self._next_warning = float("-inf")

    async def respond(self, scope: Scope, receive: Receive, path: ProgressPath) -> RawResponse:
        """Return the answer to a request.

        Raises:
            Problem: the answer if there is no state to return.
        """
        if scope["method"] not in ("GET", "HEAD"):
            raise MethodNotAllowed
        caller = caller_of(self._authenticator, scope)
        hold = hold_of(scope["query_string"]) if scope["query_string"] else NO_HOLD
        if hold.seconds:  # not longer than the token is valid
            left = max(0.0, caller.expires - time.time())
            hold = hold._replace(seconds=min(hold.seconds, left))
        kind, job_id, _ = path
        if not JOB_ID.match(job_id):
            raise NoSuchJob
        job = JobKey(caller.tenant, kind.name, job_id)
        may_read = caller.may_read(kind.name, job_id)
        known = known_tags(scope["headers"])
        try:
            if hold.seconds or hold.after is not None:
                found = await self._long_polls.answer(Poll(job, may_read, known, hold), receive)
            else:
                documents = await self._documents.read(job) if may_read else None
                found = Found(documents and rendered(job, documents), known)
        except redis.RedisError as error:
            self._warn(error)
            raise TryLater from None
        return _response(found, hold)

    def _warn(self, error: redis.RedisError) -> None:
        now = time.monotonic()
        if now >= self._next_warning:
            self._next_warning = now + WARNING_INTERVAL
            _LOG.warning("redis_unavailable", error=str(error))


def _response(found: Found, hold: Hold) -> RawResponse:
    """Return the response with the state.

    Raises:
        NoSuchJob: there is none.
    """
    state, more = found.state, _after_headers(found, hold)
    if state is None:
        raise NoSuchJob().with_headers(more)
    headers = (*state.headers, *more) if more else state.headers
    if is_news(state, found.known):
        return RawResponse(200, headers, state.body)
    return RawResponse(304, headers, b"")


def _after_headers(found: Found, hold: Hold) -> Headers:
    if hold.after is None:
        return ()
    return _REFLECTED if found.reflected else _PENDING

"""The progress of one job: what frontends poll.

It is a plain function from a request to bytes, outside any routing and validation machinery, and it
reads Redis alone. `?wait=` makes a poll a long one: it is held until there is a state that differs
from the one that the caller has; a job that is not there yet is waited for in the same way.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple
from urllib.parse import parse_qs

import redis
import structlog
from starlette.types import Receive, Scope

from api.access.auth import Authenticator
from api.access.callers import MAX_FIELDS, caller_of
from api.answers.rendered import Rendered, rendered
from api.http.etags import known_tags, matches
from api.http.problems import BadRequest, MethodNotAllowed, NoSuchJob, TryLater
from api.http.responses import Response
from api.live.subscriptions import Hub
from api.live.waiters import Viewers, until_gone
from api.scheduling.viewer_turns import Portions
from projections.reading.documents import DocumentReader
from projections.reading.feed import feed_name
from streams.keys import JOB_ID, JobKey
from streams.kinds import KINDS, Kind

_LOG = structlog.get_logger(__name__)

WARNING_INTERVAL = 5.0
"""Seconds between two warnings of Redis being away: every request meets the same outage."""

MAX_WAIT_SECONDS = 30.0

_ENDINGS = {"": False, "/": False, "/events": True, "/events/": True}
"""True for the stream, by what follows `/progress` in a path."""
_KINDS = tuple((f"{kind.url}/", kind) for kind in KINDS.values())
_ROUTES = {
    (kind.name, events): f"{kind.url}/{{id}}/progress/{'events' if events else ''}"
    for kind in KINDS.values()
    for events in (False, True)
}
_NUMBER = re.compile(r"-?[0-9]{1,20}(\.[0-9]{0,20})?([eE][+-]?[0-9]{1,3})?\Z")


Read = Callable[[], Awaitable[Rendered | None]]


class ProgressPath(NamedTuple):
    """Whose progress a path names; the id may be of any form."""

    kind: Kind
    job_id: str
    events: bool
    """Whether it is the stream of its changes."""

    @property
    def route(self) -> str:
        """The path's pattern, for metrics."""
        return _ROUTES[self.kind.name, self.events]


def match_path(path: str) -> ProgressPath | None:
    """Read a path; with and without the trailing slash it names the same."""
    # An expression would look for the middle from the end of the path, step by step.
    start, _, ending = path.rpartition("/progress")
    events = _ENDINGS.get(ending)
    if events is not None:
        for prefix, kind in _KINDS:
            if start.startswith(prefix):
                return ProgressPath(kind, start.removeprefix(prefix), events)
    return None


class ProgressEndpoint:
    """Answers progress requests."""

    def __init__(
        self,
        authenticator: Authenticator,
        reader: DocumentReader,
        viewers: Viewers,
        hub: Hub,
        portions: Portions,
    ) -> None:
        self._authenticator = authenticator
        self._reader = reader
        self._viewers = viewers
        self._hub = hub
        self._portions = portions
        self._next_warning = float("-inf")

    async def respond(self, scope: Scope, receive: Receive, path: ProgressPath) -> Response:
        """Answer a request of the path.

        Raises:
            Problem: it is answered by that.
        """
        if scope["method"] not in ("GET", "HEAD"):
            raise MethodNotAllowed
        caller = caller_of(self._authenticator, scope)
        wait = wait_of(scope["query_string"]) if scope["query_string"] else 0.0
        if wait:  # no longer than the token is valid
            wait = min(wait, max(0.0, caller.expires - time.time()))
        kind, job_id, _ = path
        if not JOB_ID.match(job_id):
            raise NoSuchJob
        job = JobKey(caller.tenant, kind.name, job_id)
        # A job that the caller may not read is answered as one that does not exist, also in time.
        may_read = caller.may_read(kind.name, job_id)
        known = known_tags(scope["headers"])
        if wait:
            await self._portions.join(job.tenant)
        try:
            documents = await self._reader.read(job) if may_read else None
            if wait:
                await self._portions.join(job.tenant)
            state = documents and rendered(job, documents)
            if state is None:
                known = None  # any state is news to a caller for whom there was none
            if wait and not _is_news(state, known):
                read = partial(self._state, job) if may_read else _no_state
                state = await self._news(job, read, known, wait, receive)
        except redis.RedisError as error:
            self._warn(error)
            raise TryLater from None
        if state is None:
            raise NoSuchJob
        if _is_news(state, known):
            return Response(200, state.headers, state.body)
        return Response(304, state.headers, b"")

    async def _news(
        self, job: JobKey, read: Read, known: bytes | None, wait: float, receive: Receive
    ) -> Rendered | None:
        """Return the state once it is news, or as it is after `wait` seconds."""
        with self._viewers.enter(job.tenant) as bell:
            gone = asyncio.ensure_future(until_gone(receive, bell))
            late = asyncio.get_running_loop().call_later(wait, bell.end)
            try:
                async with self._hub.watching(job.tenant, feed_name(job), bell):
                    while True:
                        bell.changed = False
                        state = await read()
                        if bell.over or _is_news(state, known):
                            return state
                        await bell.wait()
            finally:
                late.cancel()
                gone.cancel()

    async def _state(self, job: JobKey) -> Rendered | None:
        documents = await self._reader.read(job)
        await self._portions.join(job.tenant)
        return documents and rendered(job, documents)

    def _warn(self, error: redis.RedisError) -> None:
        now = time.monotonic()
        if now >= self._next_warning:
            self._next_warning = now + WARNING_INTERVAL
            _LOG.warning("redis_unavailable", error=str(error))


def wait_of(query_string: bytes) -> float:
    """Give the seconds that a request may wait.

    Raises:
        BadRequest: it is no number from 0 to 30, or given twice.
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


async def _no_state() -> None:
    """Return that there is no state to read."""


def _is_news(state: Rendered | None, known: bytes | None) -> bool:
    """Return whether there is a state that `If-None-Match` does not cover."""
    return state is not None and (known is None or not matches(known, state.etag))

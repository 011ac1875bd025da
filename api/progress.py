"""The progress of one job: what frontends poll.

It is a plain function from a request to bytes, outside any routing and validation machinery, and it
reads Redis alone.
"""

from __future__ import annotations

import re
import time
from functools import lru_cache
from typing import NamedTuple

import redis
import structlog
from starlette.types import Scope

from api.answers import answer
from api.auth import Authenticator
from api.callers import caller_of
from api.etags import etag_of, matches
from api.problems import MethodNotAllowed, NoSuchJob, TryLater
from api.responses import JSON, REVALIDATED, Headers, Response, json_bytes
from projections.documents import Documents
from projections.readers import DocumentReader
from streams.keys import JOB_ID, JobKey
from streams.kinds import KINDS, Kind

_LOG = structlog.get_logger(__name__)

WARNING_INTERVAL = 5.0
"""Seconds between two warnings of Redis being away: every request meets the same outage."""

REMEMBERED_ANSWERS = 16_384
REMEMBERED_BYTES = 2_048
"""Who polls mostly finds the documents as they were, and the same documents give the same answer.
Those of up to so many bytes are remembered with it, some 30 MB in all as documents go."""

Rendered = tuple[bytes, bytes]
"""An answer's bytes and their tag."""

_KIND_BY_URL = {kind.url: kind for kind in KINDS.values()}
_ROUTES = {url: f"{url}/{{id}}/progress/" for url in _KIND_BY_URL}
_PATH = re.compile(rf"({'|'.join(map(re.escape, _KIND_BY_URL))})/(.*)/progress/?\Z", re.DOTALL)
_SHOWN: Headers = (*JSON, *REVALIDATED)


class ProgressPath(NamedTuple):
    """Whose progress a path names; the id may be of any form."""

    kind: Kind
    job_id: str

    @property
    def route(self) -> str:
        """The path's pattern, for metrics."""
        return _ROUTES[self.kind.url]


def match_path(path: str) -> ProgressPath | None:
    """Read a path; with and without the trailing slash it names the same."""
    found = _PATH.match(path)
    return found and ProgressPath(_KIND_BY_URL[found[1]], found[2])


class ProgressEndpoint:
    """Answers progress requests."""

    def __init__(self, authenticator: Authenticator, reader: DocumentReader) -> None:
        self._authenticator = authenticator
        self._reader = reader
        self._next_warning = float("-inf")

    async def respond(self, scope: Scope, path: ProgressPath) -> Response:
        """Answer a request of the path.

        Raises:
            Problem: it is answered by that.
        """
        if scope["method"] not in ("GET", "HEAD"):
            raise MethodNotAllowed
        caller = caller_of(self._authenticator, scope)
        kind, job_id = path
        if not JOB_ID.match(job_id) or not caller.may_read(kind.name, job_id):
            raise NoSuchJob
        body, etag = await self._rendered(kind, JobKey(caller.tenant, kind.name, job_id))
        tagged = (*_SHOWN, (b"etag", etag))
        known = dict(scope["headers"]).get(b"if-none-match")
        if known is not None and matches(known, etag):
            return Response(304, tagged, b"")
        return Response(200, tagged, body)

    async def _rendered(self, kind: Kind, job: JobKey) -> Rendered:
        try:
            documents = await self._reader.read(job)
        except redis.RedisError as error:
            self._warn(error)
            raise TryLater from None
        if documents is None:
            raise NoSuchJob
        status, progress = documents
        small = len(status) + len(progress or b"") <= REMEMBERED_BYTES
        rendered = (_remembered if small else _render)(kind.name, job.id, status, progress)
        if rendered is None:
            raise NoSuchJob
        return rendered

    def _warn(self, error: redis.RedisError) -> None:
        now = time.monotonic()
        if now >= self._next_warning:
            self._next_warning = now + WARNING_INTERVAL
            _LOG.warning("redis_unavailable", error=str(error))


def _render(kind: str, job_id: str, status: bytes, progress: bytes | None) -> Rendered | None:
    """Give the answer; bytes go in and out, so that the garbage collector has nothing to follow."""
    shown = answer(KINDS[kind], job_id, Documents(status, progress))
    if shown is None:
        return None
    body = json_bytes(shown)
    return body, etag_of(body)


_remembered = lru_cache(REMEMBERED_ANSWERS)(_render)

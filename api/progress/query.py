"""The endpoint of the progress of many jobs, read with one MGET.

Used by `api.app`, `api.application`, `api.spec.models.progress` and `api.spec.operations.progress`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import repeat

import orjson
import redis
from starlette.types import Receive, Scope

from api.access.auth import Authenticator, Caller
from api.access.callers import caller_of
from api.access.limits import check_json
from api.answers.rendered import rendered
from api.http.problems import BadRequest, MethodNotAllowed, TryLater
from api.http.responses import JSON, NO_STORE, Headers, RawResponse, json_bytes
from projections.reading.documents import DocumentReader
from streams.keys import JOB_ID, JobKey
from streams.kinds import KINDS

PATH = "/api/v1/progress/query"

MAX_IDS = 200
"""The most ids in one query, of all kinds together."""

CONCURRENT_QUERIES = 8
"""The most queries at a time, and so the most connections to Redis that they use."""

_KINDS = {kind.plural: kind.name for kind in KINDS.values()}
_HEADERS: Headers = (*JSON, *NO_STORE)

Query = Mapping[str, Sequence[str]]
"""The requested ids, without duplicates, by the plural name of their kind."""


class PostOnly(MethodNotAllowed):
    """The method must be POST."""

    headers = ((b"allow", b"POST"),)


class QueryEndpoint:
    """Answers queries."""

    def __init__(self, authenticator: Authenticator, documents: DocumentReader) -> None:
        self._authenticator = authenticator
        self._documents = documents
        self._semaphore = asyncio.Semaphore(CONCURRENT_QUERIES)

    async def respond(self, scope: Scope, receive: Receive) -> RawResponse:
        """Return the answers by kind and id; null for ids without one.

        Raises:
            Problem: the answer to a request that is not valid or cannot be answered.
        """
        if scope["method"] != "POST":
            raise PostOnly
        caller = caller_of(self._authenticator, scope)
        check_json(scope)
        query = parse_query(await _read_body(receive))
        found = await self._read(_readable(caller, query))
        parts = [
            b'"%b":{%b}' % (plural.encode(), b",".join(_members(ids, found[_KINDS[plural]])))
            for plural, ids in query.items()
        ]
        return RawResponse(200, _HEADERS, b"{%b}" % b",".join(parts))

    async def _read(self, jobs: Sequence[JobKey]) -> Mapping[str, Mapping[str, bytes]]:
        """Return the rendered answers by kind, then by id; those of missing jobs are left out."""
        try:
            async with self._semaphore:
                documents = await self._documents.read_many(jobs)
        except redis.RedisError:
            raise TryLater from None
        found: dict[str, dict[str, bytes]] = {kind: {} for kind in KINDS}
        for job, each in zip(jobs, documents, strict=True):
            state = each and rendered(job, each)
            if state:
                found[job.kind][job.id] = state.body
        return found


def _readable(caller: Caller, query: Query) -> list[JobKey]:
    """Return the jobs whose ids are valid and which the caller may read."""
    jobs: list[JobKey] = []
    for plural, ids in query.items():
        kind = _KINDS[plural]
        readable = filter(JOB_ID.match, ids)
        if caller.allowed_ids is not None:
            readable = filter(partial(caller.may_read, kind), readable)
        jobs += map(JobKey, repeat(caller.tenant), repeat(kind), readable)
    return jobs


def parse_query(body: bytes) -> Query:
    """Return the ids in the body of a query.

    Raises:
        BadRequest: the body is not a valid query; its members `reason` and `parameter` say why and
            where.
    """
    try:
        query = orjson.loads(body)
    except ValueError:
        raise BadRequest(reason="the body must be JSON") from None
    if not isinstance(query, dict):
        raise BadRequest(reason="the body must be a JSON object")
    for name in query:
        if name not in _KINDS:
            raise BadRequest(parameter=name[:64], reason=f"must be {' or '.join(_KINDS)}")
    found = {plural: _ids(plural, query.get(plural, [])) for plural in _KINDS}
    if sum(map(len, found.values())) > MAX_IDS:
        raise BadRequest(parameter="*", reason=f"must not have more than {MAX_IDS} ids")
    return {plural: list(dict.fromkeys(ids)) for plural, ids in found.items()}


def _ids(plural: str, value: object) -> Sequence[str]:
    """Return a list of ids as strings; ids that answers contain as numbers may be numbers."""
    if isinstance(value, list) and set(map(type, value)) <= {str}:
        return value
    if not isinstance(value, list) or not all(map(_is_id, value)):
        raise BadRequest(parameter=plural, reason="must be a list of ids")
    return [str(int(each)) if isinstance(each, float) else str(each) for each in value]


def _is_id(value: object) -> bool:
    """Return whether a JSON value may be an id; 7.0 and 7 are the same number in JSON."""
    return type(value) in (str, int) or (isinstance(value, float) and value.is_integer())


def _members(ids: Iterable[str], bodies: Mapping[str, bytes]) -> list[bytes]:
    """Return the members of the answer's JSON object: each id with its rendered answer."""
    return [
        # The id of an existing job has no character that needs an escape in JSON.
        b'"%b":%b' % (job_id.encode(), bodies[job_id])
        if job_id in bodies
        else b"%b:null" % json_bytes(job_id)
        for job_id in ids
    ]


async def _read_body(receive: Receive) -> bytes:
    """Return the complete body; `api.access.request_guard` has limited its size."""
    parts = []
    while (message := await receive())["type"] == "http.request":
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            break
    return b"".join(parts)

"""The progress of many jobs at once, read by one MGET."""

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
from api.http.responses import JSON, NO_STORE, Headers, Response, json_bytes
from projections.reading.documents import DocumentReader
from streams.keys import JOB_ID, JobKey
from streams.kinds import KINDS

PATH = "/api/v1/progress/query"
MAX_IDS = 200
QUERIES_AT_ONCE = 8
"""Also the connections to Redis that queries take."""

_KINDS = {kind.plural: kind.name for kind in KINDS.values()}
_ANSWERED: Headers = (*JSON, *NO_STORE)

Asked = Mapping[str, Sequence[str]]
"""The ids that are asked for, by the plural name of their kind; none twice."""


class PostOnly(MethodNotAllowed):
    """Use POST."""

    headers = ((b"allow", b"POST"),)


class QueryEndpoint:
    """Answers queries."""

    def __init__(self, authenticator: Authenticator, reader: DocumentReader) -> None:
        self._authenticator = authenticator
        self._reader = reader
        self._turn = asyncio.Semaphore(QUERIES_AT_ONCE)

    async def respond(self, scope: Scope, receive: Receive) -> Response:
        """Answer with a map by id for each kind, null where there is nothing to tell.

        Raises:
            Problem: it is answered by that.
        """
        if scope["method"] != "POST":
            raise PostOnly
        caller = caller_of(self._authenticator, scope)
        check_json(scope)
        asked = asked_for(await _body(receive))
        found = await self._bodies(_readable(caller, asked))
        parts = [
            b'"%b":{%b}' % (plural.encode(), b",".join(_members(ids, found[_KINDS[plural]])))
            for plural, ids in asked.items()
        ]
        return Response(200, _ANSWERED, b"{%b}" % b",".join(parts))

    async def _bodies(self, jobs: Sequence[JobKey]) -> Mapping[str, Mapping[str, bytes]]:
        """Give what there is to tell, by kind and then by id."""
        try:
            async with self._turn:
                documents = await self._reader.read_many(jobs)
        except redis.RedisError:
            raise TryLater from None
        found: dict[str, dict[str, bytes]] = {kind: {} for kind in KINDS}
        for job, each in zip(jobs, documents, strict=True):
            state = each and rendered(job, each)
            if state:
                found[job.kind][job.id] = state.body
        return found


def _readable(caller: Caller, asked: Asked) -> list[JobKey]:
    """Give the jobs that there may be and that the caller may know of."""
    jobs: list[JobKey] = []
    for plural, ids in asked.items():
        kind = _KINDS[plural]
        readable = filter(JOB_ID.match, ids)
        if caller.only is not None:
            readable = filter(partial(caller.may_read, kind), readable)
        jobs += map(JobKey, repeat(caller.tenant), repeat(kind), readable)
    return jobs


def asked_for(body: bytes) -> Asked:
    """Read a query.

    Raises:
        BadRequest: it is none; `reason` says why, and `parameter` where.
    """
    try:
        query = orjson.loads(body)
    except ValueError:
        raise BadRequest(reason="the body is no JSON") from None
    if not isinstance(query, dict):
        raise BadRequest(reason="the body is no JSON object")
    for name in query:
        if name not in _KINDS:
            raise BadRequest(parameter=name[:64], reason=f"take {' or '.join(_KINDS)}")
    asked = {plural: _ids(plural, query.get(plural, [])) for plural in _KINDS}
    if sum(map(len, asked.values())) > MAX_IDS:
        raise BadRequest(parameter="*", reason=f"more than {MAX_IDS} ids")
    return {plural: list(dict.fromkeys(ids)) for plural, ids in asked.items()}


def _ids(plural: str, value: object) -> Sequence[str]:
    """Take a list of ids; one that is shown as a number may be given as one."""
    if isinstance(value, list) and set(map(type, value)) <= {str}:
        return value
    if not isinstance(value, list) or not all(map(_is_id, value)):
        raise BadRequest(parameter=plural, reason="it is no list of ids")
    return [str(int(each)) if isinstance(each, float) else str(each) for each in value]


def _is_id(value: object) -> bool:
    """A number is one where it is whole, for JSON does not tell 7.0 from 7."""
    return type(value) in (str, int) or (isinstance(value, float) and value.is_integer())


def _members(ids: Iterable[str], bodies: Mapping[str, bytes]) -> list[bytes]:
    """Return each id beside its answer, without parsing what is JSON already."""
    return [
        # The id of a job that was found has no character that JSON escapes.
        b'"%b":%b' % (job_id.encode(), bodies[job_id])
        if job_id in bodies
        else b"%b:null" % json_bytes(job_id)
        for job_id in ids
    ]


async def _body(receive: Receive) -> bytes:
    """Read the whole body; how large it may be is limited before it comes here."""
    parts = []
    while (message := await receive())["type"] == "http.request":
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            break
    return b"".join(parts)

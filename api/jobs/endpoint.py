"""The endpoints of stored jobs: lists, one job, and its history. Used by `api.app`.

A job of another tenant is answered exactly like one that does not exist: the same queries run. An
id that the token does not allow is refused without a query.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.access.auth import Authenticator, Caller
from api.access.callers import caller_of
from api.http.cursors import read_cursor, write_cursor
from api.http.problems import NoSuchJob
from api.http.responses import Headers, json_bytes
from api.jobs.cursor_values import history_cursor, list_cursor, list_values
from api.jobs.items import event_item, job_item, list_item
from api.jobs.job_reads import JobReads
from api.jobs.parameters import HistoryParameters, JobParameters, ListParameters, list_parameters
from projections.reading.history import START, read_events
from projections.reading.jobs import ListFilters, read_job, read_page
from streams.keys import JOB_ID, JobKey
from streams.kinds import KINDS, Kind

Endpoint = Callable[[Request], Awaitable[Response]]


def job_routes(authenticator: Authenticator, reads: JobReads) -> list[Route]:
    """Return the routes of all kinds."""
    return [
        Route(path, endpoint, methods=["GET"])
        for kind in KINDS.values()
        for path, endpoint in JobEndpoints(kind, authenticator, reads).by_path.items()
    ]


class JobEndpoints:
    """The endpoints of one kind."""

    def __init__(self, kind: Kind, authenticator: Authenticator, reads: JobReads) -> None:
        self._kind = kind
        self._authenticator = authenticator
        self._reads = reads
        self.by_path: dict[str, Endpoint] = {
            f"{kind.url}/": self.list,
            f"{kind.url}/{{id}}/": self.job,
            f"{kind.url}/{{id}}/history/": self.history,
        }

    async def list(self, request: Request) -> Response:
        """Return a page of the caller's jobs, newest first."""
        caller = self._caller(request)
        query = list_parameters(self._kind).of_query(request.scope["query_string"])
        list_identity = [caller.tenant, self._kind.name, query.filter_values]
        after = None
        if query.cursor is not None:
            after = list_cursor(read_cursor(list_identity, query.cursor))
        filters = self._filters(caller, query)
        page, age = await self._reads.read(
            caller.tenant,
            read_page(caller.tenant, self._kind.name, filters, after, query.limit),
            fresh=query.fresh,
        )
        return _page(
            [list_item(self._kind, row) for row in page.rows],
            page.next and write_cursor(list_identity, list_values(page.next)),
            age,
        )

    async def job(self, request: Request) -> Response:
        """Return one job, with its whole result."""
        caller = self._caller(request)
        query = JobParameters.of_query(request.scope["query_string"])
        job = self._job(caller, request)
        row, age = await self._reads.read(caller.tenant, read_job(job), fresh=query.fresh)
        if row is None:
            raise NoSuchJob().with_headers(_age_headers(age))
        return _json(job_item(self._kind, row), age)

    async def history(self, request: Request) -> Response:
        """Return a page of a job's events, oldest first."""
        caller = self._caller(request)
        query = HistoryParameters.of_query(request.scope["query_string"])
        job = self._job(caller, request)
        after = START
        if query.cursor is not None:
            after = history_cursor(read_cursor([*job], query.cursor))
        page, age = await self._reads.read(
            caller.tenant, read_events(job, after, query.limit), fresh=query.fresh
        )
        if page is None:
            raise NoSuchJob().with_headers(_age_headers(age))
        return _page(
            [event_item(event) for event in page.events],
            page.next and write_cursor([*job], [*page.next]),
            age,
        )

    def _caller(self, request: Request) -> Caller:
        return caller_of(self._authenticator, request.scope)

    def _job(self, caller: Caller, request: Request) -> JobKey:
        """Return the job in the path.

        Raises:
            NoSuchJob: the id is not valid, or the token does not allow it.
        """
        job_id: str = request.path_params["id"]
        if not JOB_ID.match(job_id) or not caller.may_read(self._kind.name, job_id):
            raise NoSuchJob
        return JobKey(caller.tenant, self._kind.name, job_id)

    def _filters(self, caller: Caller, query: ListParameters) -> ListFilters:
        allowed = caller.allowed_ids
        return ListFilters(
            state=None if query.status is None else self._kind.state_of(query.status),
            job_type=query.job_type,
            labels=query.labels,
            updated_since=query.updated_since,
            ids=None if allowed is None else sorted(allowed.get(self._kind.name, ())),
        )


def _page(items: Sequence[Any], cursor: str | None, age: int | None) -> Response:
    return _json({"items": items, "next_cursor": cursor}, age)


def _json(value: Any, age: int | None) -> Response:
    headers = {name.decode(): text.decode() for name, text in _age_headers(age)}
    return Response(json_bytes(value), media_type="application/json", headers=headers)


def _age_headers(age: int | None) -> Headers:
    """Return the header with the greatest age of a replica's data, in seconds.

    There is none if the primary answered.
    """
    return () if age is None else ((b"jobtrail-replica-age", b"%d" % age),)

"""The endpoints of stored jobs: lists, one job, and its history. Used by `api.app`.

A job that the caller may not read is answered like one that does not exist, and the same queries
run for both.
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
from api.http.problems import BadRequest, NoSuchJob
from api.http.responses import json_bytes
from api.jobs.cursor_values import history_cursor, list_cursor, list_values
from api.jobs.database import Database
from api.jobs.items import event_item, job_item, list_item
from api.jobs.parameters import HistoryParameters, ListParameters, list_parameters
from projections.reading.history import START, read_events
from projections.reading.jobs import ListFilters, read_job, read_page
from streams.keys import JOB_ID, JobKey
from streams.kinds import KINDS, Kind

Endpoint = Callable[[Request], Awaitable[Response]]


def job_routes(authenticator: Authenticator, database: Database) -> list[Route]:
    """Return the routes of all kinds."""
    return [
        Route(path, endpoint, methods=["GET"])
        for kind in KINDS.values()
        for path, endpoint in JobEndpoints(kind, authenticator, database).by_path.items()
    ]


class JobEndpoints:
    """The endpoints of one kind."""

    def __init__(self, kind: Kind, authenticator: Authenticator, database: Database) -> None:
        self._kind = kind
        self._authenticator = authenticator
        self._database = database
        self.by_path: dict[str, Endpoint] = {
            f"{kind.url}/": self.list,
            f"{kind.url}/{{id}}/": self.one,
            f"{kind.url}/{{id}}/history/": self.history,
        }

    async def list(self, request: Request) -> Response:
        """Return a page of the caller's jobs, newest first."""
        caller = self._caller(request)
        query = list_parameters(self._kind).of_query(request.scope["query_string"])
        identity = [caller.tenant, self._kind.name, query.filter_values]
        after = None if query.cursor is None else list_cursor(read_cursor(identity, query.cursor))
        filters = self._filters(caller, query)
        page = await self._database.read(
            caller.tenant,
            read_page(caller.tenant, self._kind.name, filters, after, query.limit),
        )
        return _page(
            [list_item(self._kind, row) for row in page.rows],
            page.next and write_cursor(identity, list_values(page.next)),
        )

    async def one(self, request: Request) -> Response:
        """Return one job, with its result of any size."""
        caller = self._caller(request)
        _refuse_parameters(request)
        job = self._job(caller, request)
        row = await self._database.read(caller.tenant, read_job(job))
        if row is None:
            raise NoSuchJob
        return _json(job_item(self._kind, row))

    async def history(self, request: Request) -> Response:
        """Return a page of a job's events, oldest first."""
        caller = self._caller(request)
        query = HistoryParameters.of_query(request.scope["query_string"])
        job = self._job(caller, request)
        after = START
        if query.cursor is not None:
            after = history_cursor(read_cursor([*job], query.cursor))
        page = await self._database.read(caller.tenant, read_events(job, after, query.limit))
        if page is None:
            raise NoSuchJob
        return _page(
            [event_item(event) for event in page.events],
            page.next and write_cursor([*job], [*page.next]),
        )

    def _caller(self, request: Request) -> Caller:
        return caller_of(self._authenticator, request.scope)

    def _job(self, caller: Caller, request: Request) -> JobKey:
        """Return the job in the path; raise NoSuchJob if the caller may not read it."""
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


def _refuse_parameters(request: Request) -> None:
    """Raise BadRequest with the name of the first query parameter, if there is any."""
    for name in request.query_params:
        raise BadRequest(parameter=name[:100])


def _page(items: Sequence[Any], cursor: str | None) -> Response:
    return _json({"items": items, "next_cursor": cursor})


def _json(value: Any) -> Response:
    return Response(json_bytes(value), media_type="application/json")

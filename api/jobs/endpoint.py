"""Durable reads: lists of jobs, one job, and its history, from PostgreSQL.

Who asks for what is not theirs gets what anybody gets for what does not exist, by the same queries.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.access.auth import Authenticator, Caller
from api.access.callers import caller_of
from api.http.cursors import read_cursor, write_cursor
from api.http.problems import BadRequest, NoSuchJob
from api.http.responses import json_bytes
from api.jobs.database import Database
from api.jobs.items import event_item, listed_item, whole_item
from api.jobs.parameters import HistoryParameters, ListParameters, list_parameters
from projections.reading.history import START, EventPosition, read_events
from projections.reading.jobs import Filters, Position, read_job, read_page
from streams.keys import JOB_ID, JobKey
from streams.kinds import KINDS, Kind

_BIGGEST = 2**63 - 1

Endpoint = Callable[[Request], Awaitable[Response]]


def job_routes(authenticator: Authenticator, database: Database) -> list[Route]:
    """Return the routes of every kind."""
    return [
        Route(path, endpoint, methods=["GET"])
        for kind in KINDS.values()
        for path, endpoint in JobEndpoints(kind, authenticator, database).by_path.items()
    ]


class JobEndpoints:
    """Answers durable reads of one kind."""

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
        """Answer a page of the caller's jobs, newest first."""
        caller = self._caller(request)
        asked = list_parameters(self._kind).of_query(request.scope["query_string"])
        this_list = [caller.tenant, self._kind.name, asked.told_by]
        after = None if asked.cursor is None else _place(read_cursor(this_list, asked.cursor))
        page = await self._database.read(
            caller.tenant,
            read_page(
                caller.tenant, self._kind.name, self._filters(caller, asked), after, asked.limit
            ),
        )
        return _page(
            [listed_item(self._kind, row) for row in page.rows],
            page.next and write_cursor(this_list, [page.next.listed_at.isoformat(), page.next.id]),
        )

    async def one(self, request: Request) -> Response:
        """Answer a job's row, with its result of whatever size."""
        caller = self._caller(request)
        _refuse_parameters(request)
        job = self._job(caller, request)
        row = await self._database.read(caller.tenant, read_job(job))
        if row is None:
            raise NoSuchJob
        return _json(whole_item(self._kind, row))

    async def history(self, request: Request) -> Response:
        """Answer a page of a job's events in their order."""
        caller = self._caller(request)
        asked = HistoryParameters.of_query(request.scope["query_string"])
        job = self._job(caller, request)
        after = START if asked.cursor is None else _moment(read_cursor([*job], asked.cursor))
        page = await self._database.read(caller.tenant, read_events(job, after, asked.limit))
        if page is None:
            raise NoSuchJob
        return _page(
            [event_item(event) for event in page.events],
            page.next and write_cursor([*job], [*page.next]),
        )

    def _caller(self, request: Request) -> Caller:
        return caller_of(self._authenticator, request.scope)

    def _job(self, caller: Caller, request: Request) -> JobKey:
        """Give the job that the path names, if it is one that the caller may ask for."""
        job_id: str = request.path_params["id"]
        if not JOB_ID.match(job_id) or not caller.may_read(self._kind.name, job_id):
            raise NoSuchJob
        return JobKey(caller.tenant, self._kind.name, job_id)

    def _filters(self, caller: Caller, asked: ListParameters) -> Filters:
        only = caller.only
        return Filters(
            state=None if asked.status is None else self._kind.state_of(asked.status),
            job_type=asked.job_type,
            labels=asked.labels,
            updated_since=asked.updated_since,
            ids=None if only is None else sorted(only.get(self._kind.name, ())),
        )


def _refuse_parameters(request: Request) -> None:
    for name in request.query_params:
        raise BadRequest(parameter=name[:100])


def _place(position: Sequence[str | int]) -> Position:
    """Read a cursor's place in a list; a forged one may hold anything."""
    match position:
        case [str(listed_at), str(job_id)] if JOB_ID.match(job_id):
            try:
                at = datetime.fromisoformat(listed_at)
            except ValueError:
                raise BadRequest(parameter="cursor") from None
            if at.utcoffset() is not None:
                return Position(at, job_id)
    raise BadRequest(parameter="cursor")


def _moment(position: Sequence[str | int]) -> EventPosition:
    """Read a cursor's place in a history; a forged one may hold anything."""
    match position:
        case [int(ms), int(seq), str(event_id)] if "\0" not in event_id:
            if 0 <= ms <= _BIGGEST and 0 <= seq <= _BIGGEST:
                return EventPosition(ms, seq, event_id)
    raise BadRequest(parameter="cursor")


def _page(items: Sequence[Any], cursor: str | None) -> Response:
    return _json({"items": items, "next_cursor": cursor})


def _json(value: Any) -> Response:
    return Response(json_bytes(value), media_type="application/json")

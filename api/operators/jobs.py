"""The operators' endpoints for jobs of all tenants: lists, one job, its history and its result.

Each method returns the JSON value of an answer. Used by `api.app`, `api.operators.figures`,
`api.operators.routes` and `api.spec.operations.operators`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

import psycopg
import redis
from psycopg import AsyncConnection
from starlette.requests import Request
from starlette.routing import Route

from api.answers.progress_answer import progress_answer
from api.http.cursors import write_cursor
from api.http.problems import BadRequest, NoSuchPage
from api.operators.cached_answer import CachedAnswer
from api.operators.gate import Gate
from api.operators.job_details import (
    explanation,
    failure_details,
    history_item,
    past_details,
    timeline_details,
)
from api.operators.parameters import cursor_of, filter_of, job_of, number_of, part_of, text_of
from api.operators.tenant_names import TenantNames, names_near
from projections.reading.all_tenants import job_details as details
from projections.reading.all_tenants.failures import FailureGroup, read_failures
from projections.reading.all_tenants.job_list import OperatorCursor, list_jobs
from projections.reading.all_tenants.stalled_jobs import (
    StalledCount,
    count_stalled,
    list_stalled,
)
from projections.reading.all_tenants.suggestions import read_near_ids
from projections.reading.all_tenants.transaction import server_health
from projections.reading.documents import DocumentReader
from streams.entry_ids import EntryId
from streams.keys import JobKey
from streams.kinds import KINDS

T = TypeVar("T")

Connections = Callable[[], AbstractAsyncContextManager[AsyncConnection[Any]]]
"""Returns a context manager that lends a connection to PostgreSQL."""

DEFAULT_LIMIT = 50
MAX_JOBS = 100
"""The most jobs on a page."""

MAX_HISTORY = 200
"""The most events on a page."""

STALLED_AFTER_SECONDS = 900
"""The time without events after which a job counts as stalled, if none is configured."""

MAX_SUGGESTIONS = 6
"""The most jobs, and the most tenants, that are suggested for a text."""

COUNT_CACHED_SECONDS = 10.0
"""Seconds for which the number of stalled jobs is cached at least."""

_STALLED_LIST = ["stalled"]
_STALLED_CURSOR = ("heard_ms", "tenant", "kind", "id")
"""The columns in a cursor of stalled jobs."""


class OperatorJobEndpoints:
    """The endpoints for jobs.

    Args:
        connections: lends connections to PostgreSQL.
        documents: reads the documents in Redis.
        stalled_after_seconds: the time without events after which a job counts as stalled; None for
            `STALLED_AFTER_SECONDS`.
    """

    def __init__(
        self,
        connections: Connections,
        documents: DocumentReader,
        *,
        stalled_after_seconds: int | None = None,
    ) -> None:
        self._connections = connections
        self._documents = documents
        self._stalled_after = stalled_after_seconds or STALLED_AFTER_SECONDS
        self._stalled_count = CachedAnswer(self._count_stalled, COUNT_CACHED_SECONDS)
        # Never cached, because it shows whether the server is available now.
        self._health = CachedAnswer(self._read_health, 0.0, lambda _: True)
        self._tenants = TenantNames()

    def routes(self, gate: Gate, url: str) -> list[Route]:
        """Return the routes below a URL, for operators only."""
        job = f"{url}/jobs/{{tenant}}/{{kind}}/{{job_id}}/"
        return [
            gate.read_route(f"{url}/jobs/", self.jobs),
            gate.read_route(f"{url}/stalled/", self.stalled),
            gate.read_route(f"{url}/failures/", self.failures),
            gate.read_route(job, self.job),
            gate.read_route(f"{job}history/", self.history),
            gate.read_route(f"{job}result/", self.result),
            gate.read_route(f"{job}past/", self.past),
            gate.read_route(f"{url}/suggestions/", self.suggestions),
        ]

    async def health(self) -> dict[str, Any]:
        """Return a short description of the PostgreSQL server, as a field of its status."""
        return {"description": await self._health.get()}

    async def _read_health(self) -> str:
        async with self._connections() as connection:
            version, sessions, size = await server_health(connection)
        return f"PostgreSQL {version}, {sessions} sessions, {size / 2**20:.0f} MiB"

    async def stalled_count(self) -> dict[str, Any]:
        """Return the JSON of the number of stalled jobs; `more` is true if there may be more."""
        count = await self._stalled_count.get()
        return {
            "count": count.stalled,
            "more": count.more,
            "after_seconds": self._stalled_after,
        }

    async def _count_stalled(self) -> StalledCount:
        async with self._connections() as connection:
            return await count_stalled(connection, self._stalled_before())

    async def jobs(self, request: Request) -> object:
        """Return a page of jobs, newest first; in the order of ids if they are filtered by id."""
        wanted = filter_of(request)
        identity = ["jobs", *wanted]
        values = cursor_of(request, identity, (str, str, str, str))
        after = None if values is None else OperatorCursor(*values)
        limit = number_of(request, "limit", DEFAULT_LIMIT, MAX_JOBS)
        async with self._connections() as connection:
            try:
                page = await list_jobs(connection, wanted, after, limit)
            except psycopg.errors.DataError:  # a forged cursor has a time that is not valid
                raise BadRequest(parameter="cursor") from None
        return {
            "items": page.jobs,
            "next_cursor": page.next and write_cursor(identity, list(page.next)),
            "searched_until": page.searched_until,
        }

    async def failures(self, request: Request) -> object:
        """Return the failed jobs that match, grouped by their errors, as far as one window has."""
        wanted = filter_of(request)
        async with self._connections() as connection:
            found = await read_failures(connection, wanted)
        return {
            **_counts(found.total),
            "groups": [_failure_group(each) for each in found.groups],
            "examined": found.examined,
            "since": found.since,
            "more": found.more,
        }

    async def stalled(self, request: Request) -> object:
        """Return a page of stalled jobs, those without events for the longest time first."""
        values = cursor_of(request, _STALLED_LIST, (int, str, str, str))
        after = None if values is None else (values[0], JobKey(*values[1:]))
        limit = number_of(request, "limit", DEFAULT_LIMIT, MAX_JOBS)
        async with self._connections() as connection:
            found = await list_stalled(connection, self._stalled_before(), after, limit + 1)
        page, last = _page(found, limit)
        cursor = last and write_cursor(_STALLED_LIST, [last[name] for name in _STALLED_CURSOR])
        return {
            "items": [_stalled_item(row) for row in page],
            "next_cursor": cursor,
            "after_seconds": self._stalled_after,
        }

    async def job(self, request: Request) -> object:
        """Return one job: its row, its state in Redis, its timeline, and why it is in its state."""
        key = job_of(request)
        async with self._connections() as connection:
            row = await details.read_job(connection, key)
            found = await details.read_deciding_events(connection, key)
        live = await self._live(key)
        if row is None and live is None:
            raise NoSuchPage
        return {
            "job": row,
            "live": live,
            "explanation": explanation(found, row),
            "last_failure": failure_details(found.events),
            "timeline": timeline_details(found.events),
            "events": found.total,
            "events_read": found.read,
        }

    async def history(self, request: Request) -> object:
        """Return a page of a job's events, in the order of the stream."""
        key, limit = job_of(request), number_of(request, "limit", DEFAULT_LIMIT, MAX_HISTORY)
        after = _entry_id(text_of(request, "cursor"))
        async with self._connections() as connection:
            found = await details.read_history(connection, key, after, limit + 1)
        page, last = _page(found, limit)
        return {
            "items": [history_item(event) for event in page],
            "next_cursor": last and str(last.entry_id),
        }

    async def result(self, request: Request) -> object:
        """Return a job's result of any size, as JSON text in a JSON string."""
        async with self._connections() as connection:
            text = await details.read_result(connection, job_of(request))
        if text is None:
            raise NoSuchPage
        return {"result": text}

    async def past(self, request: Request) -> object:
        """Return a job's state after its first `events` events, as clients saw it."""
        key, number = job_of(request), number_of(request, "events", 1, details.MAX_DECIDING)
        async with self._connections() as connection:
            found = past_details(key, await details.read_first_events(connection, key, number))
        if found is None:
            raise NoSuchPage
        return found

    async def suggestions(self, request: Request) -> object:
        """Return jobs and tenants that a text may mean: a part of a tenant's name, or of an id."""
        text = part_of(request, "text")
        if text is None:
            return {"jobs": [], "tenants": []}
        async with self._connections() as connection:
            jobs = await read_near_ids(connection, text, MAX_SUGGESTIONS)
            tenants = await self._tenants.names(connection)
        return {"jobs": jobs, "tenants": names_near(text, tenants, MAX_SUGGESTIONS)}

    async def _live(self, key: JobKey) -> dict[str, Any] | None:
        """Return the state that progress answers contain; None if Redis has none."""
        try:
            documents = await self._documents.read(key)
        except redis.RedisError:
            return None
        found = documents and progress_answer(KINDS[key.kind], key.id, documents)
        return found and {name: found.get(name) for name in ("status", "attempt", "updated_at")}

    def _stalled_before(self) -> int:
        """Return the time, in ms since 1970, that the last event of a stalled job precedes."""
        return time.time_ns() // 1_000_000 - self._stalled_after * 1000


def _counts(group: FailureGroup) -> dict[str, Any]:
    return {name: getattr(group, name) for name in ("jobs", "tenants", "first", "last")}


def _failure_group(group: FailureGroup) -> dict[str, Any]:
    return {
        "code": group.code,
        "text": group.text,
        **_counts(group),
        "job_type": group.job_type if group.job_types == 1 else None,
        "job_types": group.job_types,
        "worker": group.worker if group.workers == 1 else None,
        "workers": group.workers,
    }


def _stalled_item(row: dict[str, Any]) -> dict[str, Any]:
    return {("last_event_ms" if name == "heard_ms" else name): row[name] for name in row}


def _entry_id(cursor: str | None) -> EntryId:
    """Return the entry id in a cursor of a history; without a cursor, one before all others.

    Raises:
        BadRequest: the cursor is not the id of an entry.
    """
    try:
        after = EntryId(-1, 0) if cursor is None else EntryId.parse(cursor)
    except ValueError:
        raise BadRequest(parameter="cursor") from None
    if after.ms >= 2**63 or after.seq >= 2**63:
        raise BadRequest(parameter="cursor")
    return after


def _page(found: Sequence[T], limit: int) -> tuple[Sequence[T], T | None]:
    """Return the items of a page, and its last item if more follow.

    Args:
        found: the items of the page and at most one more.
        limit: the size of the page.
    """
    return found[:limit], found[limit - 1] if len(found) > limit else None

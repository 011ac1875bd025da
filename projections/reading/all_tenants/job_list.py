"""Lists of the jobs of all tenants, page by page.

A statement examines a bounded *window* of jobs that follow the cursor, and returns those that pass
the filters. Then the next window is examined, until the page is full or its time is over. So no
filter makes a request read a million rows, however few jobs pass it. The next page begins where the
last window ended. Used by `api.operators.jobs`, `api.operators.parameters` and
`projections.reading.all_tenants.failures`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from heapq import merge
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from projections.reading.all_tenants.transaction import (
    fetch_all,
    fetch_one,
    progress_of,
    read_transaction,
)
from sql import queries
from streams.kinds import KINDS

_QUERIES = queries("console")

WINDOW = 5_000
"""Jobs that one statement examines."""
WINDOW_BY_ID = 1_000
"""The same in the order of ids, in which each job may be on another page of the table."""
PAGE_SECONDS = 0.3
"""The time after which a page begins no further window."""
_LISTED = (
    "tenant kind id state status job_type attempt worker code error progress created_at updated_at "
    "listed_at"
).split()
"""The columns of the queries of lists."""


class OperatorCursor(NamedTuple):
    """The job after which the next page begins."""

    at: str
    """Its `listed_at`, as PostgreSQL writes it."""
    id: str
    tenant: str
    kind: str


NEWEST = OperatorCursor("infinity", "", "", "")
"""The cursor of the first page, in every order."""


class OperatorFilter(NamedTuple):
    """The jobs that a list contains; None for any value."""

    tenant: str | None = None
    kind: str | None = None
    state: str | None = None
    job_type: str | None = None
    prefix: str | None = None
    """The beginning of ids. Such a list is in the order of ids; any other is newest first."""
    part: str | None = None
    """A part of ids."""
    worker: str | None = None
    code: str | None = None
    """The code of an error."""
    labels: str | None = None
    """Labels and their values, as a JSON object."""
    since: str | None = None
    """The earliest `listed_at`, in ISO 8601."""
    until: str | None = None
    """The time before which `listed_at` must be, in ISO 8601."""


class JobPage(NamedTuple):
    """A page of a list."""

    jobs: Sequence[Mapping[str, Any]]
    next: OperatorCursor | None
    """The cursor of the next page; None on the last page."""
    searched_until: str | None
    """`listed_at` of the last job that was examined; None if more jobs of its window follow, or no
    job at all."""


async def list_jobs(
    connection: AsyncConnection[Any],
    wanted: OperatorFilter,
    after: OperatorCursor | None,
    limit: int,
    window: int = WINDOW,
) -> JobPage:
    """Return a page of at most `limit` jobs, and up to one more for each further kind.

    It may have fewer jobs, or none, while more follow.

    Raises:
        psycopg.Error: the database is away, or a statement exceeded its time limit.
    """
    jobs: list[Mapping[str, Any]] = []
    deadline = time.monotonic() + PAGE_SECONDS
    after = after or _first(wanted)
    async with read_transaction(connection):
        while True:
            page = await _window(connection, wanted, after, limit - len(jobs), window)
            jobs += page.jobs
            after = page.next
            if after is None or len(jobs) >= limit or time.monotonic() > deadline:
                return page._replace(jobs=jobs)


def _first(wanted: OperatorFilter) -> OperatorCursor:
    """Return the cursor of the first page; a list that is newest first begins at its end time."""
    if wanted.prefix is not None or wanted.until is None:
        return NEWEST
    return NEWEST._replace(at=wanted.until)


async def _window(
    connection: AsyncConnection[Any],
    wanted: OperatorFilter,
    after: OperatorCursor,
    limit: int,
    window: int,
) -> JobPage:
    """Examine one window with the query for the filters."""
    if wanted.prefix is not None:
        name, window = "by_id", min(window, WINDOW_BY_ID)
    elif wanted.tenant is not None:
        return await _of_tenant(connection, wanted, after, limit, window)
    else:
        name = "failed" if wanted.state == "failed" else "newest"
    return await _page(connection, name, wanted, after, limit=limit, window=window)


async def _of_tenant(
    connection: AsyncConnection[Any],
    wanted: OperatorFilter,
    after: OperatorCursor,
    limit: int,
    window: int,
) -> JobPage:
    """Read each kind of a tenant by its index, and merge the kinds."""
    kinds = list(KINDS) if wanted.kind is None else [wanted.kind]
    pages = [
        await _page(
            connection, "of_tenant", wanted._replace(kind=kind), after, limit=limit, window=window
        )
        for kind in kinds
    ]
    return pages[0] if len(pages) == 1 else _merged(pages, limit)


def _merged(pages: Sequence[JobPage], limit: int) -> JobPage:
    """Merge pages of several kinds, newest first."""
    newest = list(merge(*(page.jobs for page in pages), key=_recency, reverse=True))
    ends = [page.next for page in pages if page.next is not None]
    # Of a kind whose window ended, jobs below that end are unknown: the next page begins there.
    end = max(ends, key=_recency_of_cursor, default=None)
    if end is not None:
        newest = [job for job in newest if _recency(job) >= _recency_of_cursor(end)]
    listed = newest[:limit]
    for job in newest[limit : limit + len(pages) - 1]:
        # The cursor of a tenant's list is a time and an id: a job of another kind with the same
        # time and id belongs to the same page.
        if _recency(job) == _recency(listed[-1]):
            listed.append(job)
    if len(newest) > len(listed):
        return JobPage(listed, _cursor(listed[-1]), None)
    searched = next((page.searched_until for page in pages if page.next == end), None)
    return JobPage(listed, end, searched)


async def _page(
    connection: AsyncConnection[Any],
    name: str,
    wanted: OperatorFilter,
    after: OperatorCursor,
    *,
    limit: int,
    window: int,
) -> JobPage:
    """Examine one window with one query."""
    values = {
        **wanted._asdict(),
        "since": wanted.since or "-infinity",
        "until": wanted.until or "infinity",
        "of_tenant": wanted.tenant,
        "of_kind": wanted.kind,
        **after._asdict(),
        "window": window,
        "limit": limit + 1,
    }
    jobs = [_job(row) for row in await fetch_all(connection, _QUERIES[name], values)]
    if len(jobs) > limit:
        return JobPage(jobs[:limit], _cursor(jobs[limit - 1]), None)
    end = await fetch_one(connection, _QUERIES[f"{name}_end"], values)
    return JobPage(jobs, OperatorCursor(*end) if end else None, end[0] if end else None)


def _job(row: Sequence[Any]) -> dict[str, Any]:
    job = dict(zip(_LISTED, row, strict=True))
    return job | {"progress": progress_of(job)}


def _cursor(job: Mapping[str, Any]) -> OperatorCursor:
    return OperatorCursor(job["listed_at"], job["id"], job["tenant"], job["kind"])


def _recency(job: Mapping[str, Any]) -> tuple[datetime, str]:
    """Return the values by which a tenant's list is ordered, newest first."""
    return datetime.fromisoformat(job["listed_at"]), job["id"]


def _recency_of_cursor(cursor: OperatorCursor) -> tuple[datetime, str]:
    return datetime.fromisoformat(cursor.at), cursor.id

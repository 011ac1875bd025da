"""Rows of the table `jobs` of one tenant: a single row, or a page of a list.

A list is ordered by (`listed_at`, `id`), newest first; a `ListCursor` is such a pair. `listed_at`
never changes, so a client that follows the cursors sees each row that exists throughout exactly
once, whatever is updated, inserted or removed meanwhile.

A *candidate* is a row that passes one of the filters and follows the cursor. For each filter, the
`SCAN` newest candidates are found in an index. A page examines those of one filter: of the filter
whose last candidate is the oldest, because its candidates cover the largest part of the list. It
returns those that pass all filters. So a page costs the same however far back it is and however few
rows pass; but it may have fewer rows than its limit, or none, while more follow.

Each read sends its last statements before it fetches their rows, so that the end of the transaction
is sent with them (`PipelinedRead`). The API runs the reads (`api.jobs.database`). Used by
`api.jobs` and `projections.reading.history`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from psycopg import AsyncConnection, AsyncCursor
from psycopg.types.json import Jsonb

from sql import queries
from streams.keys import JobKey
from streams.kinds import State

T = TypeVar("T")

Connection = AsyncConnection[tuple[Any, ...]]
Fetch = Callable[[], Awaitable[T]]
PipelinedRead = Callable[[Connection], Awaitable[Fetch[T]]]
"""A read within a transaction that is open for one tenant, on a connection in pipeline mode.

It returns a callable that fetches the result after the pipeline has ended. It raises psycopg.Error
if the database is away, refuses, or takes too long.
"""

SCAN = 500
"""The most candidates that one page examines."""

LIST_RESULT_BYTES = 10_000
"""The size of a result, as JSON in bytes, from which on lists omit it."""

_ANY_RESULT_BYTES = 2**31
"""More bytes than any value of PostgreSQL has."""

_QUERIES = queries("reading")


class ListCursor(NamedTuple):
    """The row of a list after which the next page begins; the rows that follow are older."""

    listed_at: datetime
    id: str


class StoredRow(NamedTuple):
    """A row of `jobs`; JSON columns are texts, as they are stored."""

    id: str
    attempt: int
    state: str
    status: str
    job_type: str | None
    labels: str
    worker: str | None
    progress: str | None
    result: str | None
    """None also where a list omits it; then `result_bytes` is not None."""
    result_bytes: int | None
    error: str | None
    code: str | None
    created_at: datetime
    started_at: datetime | None
    updated_at: datetime
    ended_at: datetime | None
    listed_at: datetime

    @property
    def cursor(self) -> ListCursor:
        """The cursor of a page that begins after this row."""
        return ListCursor(self.listed_at, self.id)


@dataclass(frozen=True)
class ListFilters:
    """Conditions that the rows of a list meet; None and empty for any value."""

    state: State | None = None
    job_type: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    updated_since: datetime | None = None
    ids: Sequence[str] | None = None
    """The only jobs that the caller may read."""

    @property
    def facets(self) -> list[tuple[str, str]]:
        """The filters on the table `job_facets`, as pairs of name and value."""
        facets = [] if self.job_type is None else [("job_type", self.job_type)]
        return facets + [(f"label.{name}", value) for name, value in self.labels.items()]


class RowPage(NamedTuple):
    """A page of a list, newest first."""

    rows: Sequence[StoredRow]
    next: ListCursor | None
    """The cursor of the next page; None on the last page."""


class _PageQuery(NamedTuple):
    """A query for a page, which examines the candidates of one filter."""

    name: str
    """Its name in `reading.sql`."""
    own_parameters: Mapping[str, Any]
    """Parameters beside those of every page."""
    last_candidate: ListCursor | None = None
    """The last candidate that it examines; None if it examines all that are left."""


def read_job(job: JobKey) -> PipelinedRead[StoredRow | None]:
    """Return the read of one row, with a result of any size; its result is None without a row."""

    async def read(connection: Connection) -> Fetch[StoredRow | None]:
        parameters = {**job._asdict(), "result_limit": _ANY_RESULT_BYTES}
        cursor = await connection.execute(_QUERIES["job"], parameters)

        async def fetch() -> StoredRow | None:
            row = await cursor.fetchone()
            return None if row is None else StoredRow(*row)

        return fetch

    return read


def read_page(
    tenant: str, kind: str, filters: ListFilters, after: ListCursor | None, limit: int
) -> PipelinedRead[RowPage]:
    """Return the read of a page of a list.

    Args:
        tenant: the tenant, whose rows alone are read.
        kind: the kind of the jobs.
        filters: the conditions that all rows of the page meet.
        after: the cursor of the page before it; None for the first page.
        limit: the most rows of the page.
    """
    parameters = {
        "tenant": tenant,
        "kind": kind,
        "after_at": after.listed_at if after else "infinity",
        "after_id": after.id if after else "",
        "scan": SCAN,
        "state": filters.state and filters.state.value,
        "job_type": filters.job_type,
        "labels": Jsonb(dict(filters.labels)),
        "updated_since": filters.updated_since,
        "result_limit": LIST_RESULT_BYTES,
        "limit": limit + 1,
    }

    async def read(connection: Connection) -> Fetch[RowPage]:
        query = await _choose_query(connection, filters, parameters)
        found = await connection.execute(
            _QUERIES[query.name], {**parameters, **query.own_parameters}
        )

        async def fetch() -> RowPage:
            rows = [StoredRow(*row) for row in await found.fetchall()]
            return _page(rows, limit, query.last_candidate)

        return fetch

    return read


def _page(rows: Sequence[StoredRow], limit: int, last_candidate: ListCursor | None) -> RowPage:
    """Return the page; `rows` has one more than `limit` if not all that passed fit into it."""
    if len(rows) > limit:
        return RowPage(rows[:limit], rows[limit - 1].cursor)
    return RowPage(rows, last_candidate)


async def _choose_query(
    connection: Connection, filters: ListFilters, parameters: Mapping[str, Any]
) -> _PageQuery:
    """Return the query that examines the largest part of the list, with `SCAN` candidates at most.

    The queries for the last candidates are sent together, before any answer is awaited.
    """
    if filters.ids is not None:
        return _PageQuery("page_of_ids", {"ids": list(filters.ids)})
    if filters == ListFilters():
        # Every candidate passes, so that none beyond the page must be examined.
        return _PageQuery("page_of_newest", {"scan": parameters["limit"]})
    sent = [
        (name, own, await connection.execute(_QUERIES[reach], {**parameters, **own}))
        for name, reach, own in _possible_queries(filters)
    ]
    updated = filters.updated_since and await connection.execute(
        _QUERIES["updated_reach"], parameters
    )
    possible = [_PageQuery(name, own, await _last_candidate(reach)) for name, own, reach in sent]
    # Rows by the time of their update are in another order than the list: such a filter can be used
    # only if all its candidates are examined.
    if updated and await updated.fetchone() == (False,):
        possible.append(_PageQuery("page_of_updated", {}))
    # A query without a last candidate examines all that are left, so that this is the last page.
    return min(
        possible, key=lambda each: (each.last_candidate is not None, each.last_candidate or ())
    )


def _possible_queries(filters: ListFilters) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield the name of each query, of the query for its last candidate, and its parameters."""
    yield "page_of_newest", "newest_reach", {}
    if filters.state is not None:
        yield "page_of_state", "state_reach", {}
    for name, value in filters.facets:
        yield "page_of_facet", "facet_reach", {"name": name, "value": value}


async def _last_candidate(found: AsyncCursor[tuple[Any, ...]]) -> ListCursor | None:
    """Return the last candidate of a query; None if it has fewer than `SCAN`."""
    row = await found.fetchone()
    return None if row is None else ListCursor(*row)

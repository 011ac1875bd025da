"""Reading rows of `jobs`: one whole, or a page of a list.

A list is ordered by (`listed_at`, `id`), newest first; a *position* is such a pair. `listed_at`
never changes, so a row that stands throughout is met exactly once by who pages, whatever is
updated, inserted or removed meanwhile.

A *candidate* is a row that one filter alone lets through. Each page examines `SCAN` candidates at
most, those of the filter whose candidates reach back furthest, and keeps what passes all filters.
So a page costs the same however deep it lies and however rare what is sought; the price is that it
may hold fewer rows than asked for, or none, while more may follow.

Every reading queues its last statements and gives what fetches their rows, so that the end of the
transaction travels with them; see `Reading`.
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
Reading = Callable[[Connection], Awaitable[Fetch[T]]]
"""Reads within a transaction that is open for one tenant, on a connection in pipeline mode, and
gives what fetches the outcome once the pipeline has ended.

Raises psycopg.Error: the database is away, refuses or takes too long.
"""

SCAN = 500
"""Candidates that one page examines."""

LIST_RESULT_BYTES = 10_000
"""A result of so many bytes as JSON, or more, is left out of lists."""

_ANY_RESULT_BYTES = 2**31
"""More than any value of PostgreSQL has."""

_QUERIES = queries("reading")


class StoredRow(NamedTuple):
    """A row as lists and single reads give it; JSON columns are texts, as they are stored."""

    id: str
    attempt: int
    state: str
    status: str
    job_type: str | None
    labels: str
    worker: str | None
    progress: str | None
    result: str | None
    """None also where a list leaves it out; `result_bytes` tells."""
    result_bytes: int | None
    error: str | None
    code: str | None
    created_at: datetime
    started_at: datetime | None
    updated_at: datetime
    ended_at: datetime | None
    listed_at: datetime

    @property
    def position(self) -> Position:
        """Where it stands in lists."""
        return Position(self.listed_at, self.id)


class Position(NamedTuple):
    """A place in a list; what follows it is older."""

    listed_at: datetime
    id: str


@dataclass(frozen=True)
class Filters:
    """What the rows of a list must be; None and empty: anything."""

    state: State | None = None
    job_type: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    updated_since: datetime | None = None
    ids: Sequence[str] | None = None
    """The only rows that the caller may know of."""

    @property
    def facets(self) -> list[tuple[str, str]]:
        """Name and value of each filter that `job_facets` knows."""
        told = [] if self.job_type is None else [("job_type", self.job_type)]
        return told + [(f"label.{name}", value) for name, value in self.labels.items()]


class Page(NamedTuple):
    """Rows in the order of the list."""

    rows: Sequence[StoredRow]
    next: Position | None
    """After which the list goes on; None: this is its end."""


class _Way(NamedTuple):
    """One way to a page: whose candidates are examined."""

    query: str
    own: Mapping[str, Any]
    """Parameters beside those of every page."""
    reach: Position | None = None
    """The last of the candidates; None: all that are left are examined."""


def read_job(job: JobKey) -> Reading[StoredRow | None]:
    """Give the reading of one row, with its result of whatever size."""

    async def reading(connection: Connection) -> Fetch[StoredRow | None]:
        given = {**job._asdict(), "result_limit": _ANY_RESULT_BYTES}
        cursor = await connection.execute(_QUERIES["job"], given)

        async def fetch() -> StoredRow | None:
            row = await cursor.fetchone()
            return None if row is None else StoredRow(*row)

        return fetch

    return reading


def read_page(
    tenant: str, kind: str, filters: Filters, after: Position | None, limit: int
) -> Reading[Page]:
    """Give the reading of the page of at most `limit` rows after a position, or of the first."""
    given = {
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

    async def reading(connection: Connection) -> Fetch[Page]:
        way = await _choose_way(connection, filters, given)
        cursor = await connection.execute(_QUERIES[way.query], {**given, **way.own})

        async def fetch() -> Page:
            return _page([StoredRow(*row) for row in await cursor.fetchall()], limit, way.reach)

        return fetch

    return reading


def _page(rows: Sequence[StoredRow], limit: int, reach: Position | None) -> Page:
    if len(rows) > limit:
        return Page(rows[:limit], rows[limit - 1].position)
    return Page(rows, reach)


async def _choose_way(connection: Connection, filters: Filters, given: Mapping[str, Any]) -> _Way:
    """Choose whose candidates are examined: theirs that reach back furthest."""
    if filters.ids is not None:
        return _Way("page_of_ids", {"ids": list(filters.ids)})
    if filters == Filters():
        # Every candidate passes, so that none beyond the page need be looked for.
        return _Way("page_of_newest", {"scan": given["limit"]})
    asked = [
        (query, own, await connection.execute(_QUERIES[reach], {**given, **own}))
        for query, reach, own in _ways(filters)
    ]
    updated = filters.updated_since and await connection.execute(_QUERIES["updated_reach"], given)
    ways = [_Way(query, own, await _reach(cursor)) for query, own, cursor in asked]
    if updated and await updated.fetchone() == (False,):
        ways.append(_Way("page_of_updated", {}))
    # A way without a reach goes all the way back.
    return min(ways, key=lambda way: (way.reach is not None, way.reach or ()))


def _ways(filters: Filters) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Give each way's query, the one for its reach, and its own parameters."""
    yield "page_of_newest", "newest_reach", {}
    if filters.state is not None:
        yield "page_of_state", "state_reach", {}
    for name, value in filters.facets:
        yield "page_of_facet", "facet_reach", {"name": name, "value": value}


async def _reach(cursor: AsyncCursor[tuple[Any, ...]]) -> Position | None:
    found = await cursor.fetchone()
    return None if found is None else Position(*found)

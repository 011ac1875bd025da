"""What operators read of all tenants' rows, over an asyncio connection to PostgreSQL.

Every read is one short transaction as the role `jobtrail_ops`. A list looks at a bounded *window*
of jobs from its cursor on and gives those that pass the filters, then the next window, until the
page is full or its time is over: no filter, however rarely it is met, reads a million rows at once.
Where it ended, the cursor goes on.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from heapq import merge
from typing import Any, LiteralString, NamedTuple

from psycopg import AsyncConnection

from projections.decoding import decode_event
from projections.reading.explain import Told
from sql import queries
from streams.entry_ids import EntryId
from streams.events import InvalidEvent, load_json
from streams.keys import JobKey
from streams.kinds import KINDS, State

_QUERIES = queries("console")

STATEMENT_MS = 5_000
WINDOW = 5_000
"""Jobs that a list looks at in one statement."""
SCATTERED = 1_000
"""The same in the order of ids, where each job may lie on a page of its own."""
PATIENCE_SECONDS = 0.3
"""After so long a list begins no other window."""
TELLING = 2_000
"""Events of a job beyond progress, and of its progress, that are read to explain its state."""
STALLED_COUNTED = 1_000
RESULT_SHOWN_BYTES = 65_536
"""A larger result is given by itself only."""
_ANY_SIZE = 2**62
"""The history's events were let in when they came."""


class Place(NamedTuple):
    """Where a list goes on: after this job, that was `listed_at` then (PostgreSQL's text)."""

    at: str
    id: str
    tenant: str
    kind: str


NEWEST = Place("infinity", "", "", "")
"""Before the newest job, and before the first id."""


class Filter(NamedTuple):
    """Which jobs are wanted; None: any."""

    tenant: str | None = None
    kind: str | None = None
    state: str | None = None
    job_type: str | None = None
    prefix: str | None = None
    """What the id begins with; such a list is in the order of ids, any other newest first."""


class Page(NamedTuple):
    """Jobs of a list, and where it goes on; None at its end."""

    jobs: Sequence[Mapping[str, Any]]
    after: Place | None
    looked_to: str | None
    """When the last job was created that was looked at in vain; None where the page is full."""


class HistoryEvent(NamedTuple):
    """One event of a job's history."""

    entry_id: EntryId
    event: str
    landings: int


class Telling(NamedTuple):
    """The events that decide about a job."""

    events: Sequence[Told]
    total: int
    """How many events the history has of the job."""


@asynccontextmanager
async def _reading(connection: AsyncConnection[Any]) -> AsyncIterator[None]:
    async with connection.transaction():
        await connection.execute(_QUERIES["enter"], {"milliseconds": str(STATEMENT_MS)})
        yield


async def health(connection: AsyncConnection[Any]) -> tuple[str, int, int]:
    """Give the server's version, its connections to this database, and the database's bytes."""
    async with _reading(connection):
        row = await _one(connection, _QUERIES["health"], {})
        return row or ("", 0, 0)


async def list_jobs(
    connection: AsyncConnection[Any],
    wanted: Filter,
    after: Place | None,
    limit: int,
    window: int = WINDOW,
) -> Page:
    """Give a page of jobs; it may hold fewer than there are, or none, while more follow.

    Raises:
        psycopg.Error: the server is away, or it took longer than the statement's time.
    """
    jobs: list[Mapping[str, Any]] = []
    until = time.monotonic() + PATIENCE_SECONDS
    async with _reading(connection):
        while True:
            page = await _window(connection, wanted, after, limit - len(jobs), window)
            jobs += page.jobs
            after = page.after
            if after is None or len(jobs) >= limit or time.monotonic() > until:
                return page._replace(jobs=jobs)


async def _window(
    connection: AsyncConnection[Any], wanted: Filter, after: Place | None, limit: int, window: int
) -> Page:
    if wanted.prefix is not None:
        name, window = "by_id", min(window, SCATTERED)
    elif wanted.tenant is not None:
        return await _of_tenant(connection, wanted, after or NEWEST, limit, window)
    else:
        name = "failed" if wanted.state == "failed" else "newest"
    return await _page(connection, name, wanted, after or NEWEST, limit=limit, window=window)


async def _of_tenant(
    connection: AsyncConnection[Any], wanted: Filter, after: Place, limit: int, window: int
) -> Page:
    """Read each kind by its index and put them together."""
    kinds = list(KINDS) if wanted.kind is None else [wanted.kind]
    pages = [
        await _page(
            connection, "of_tenant", wanted._replace(kind=kind), after, limit=limit, window=window
        )
        for kind in kinds
    ]
    if len(pages) == 1:
        return pages[0]
    newest = list(merge(*(page.jobs for page in pages), key=_newness, reverse=True))
    ends = [page.after for page in pages if page.after is not None]
    # Nothing below where one of the kinds stopped: the next page begins there.
    floor = max(ends, key=lambda place: (datetime.fromisoformat(place.at), place.id), default=None)
    if floor is not None:
        stop = (datetime.fromisoformat(floor.at), floor.id)
        newest = [job for job in newest if _newness(job) >= stop]
    shown = newest[:limit]
    for job in newest[limit : limit + len(kinds) - 1]:
        # A place is a time and an id: what shares it with the last one belongs to the same page.
        if _newness(job) == _newness(shown[-1]):
            shown.append(job)
    if len(newest) > len(shown):
        return Page(shown, _place(shown[-1]), None)
    looked = next((page.looked_to for page in pages if page.after == floor), None)
    return Page(shown, floor, looked)


def _newness(job: Mapping[str, Any]) -> tuple[datetime, str]:
    return datetime.fromisoformat(job["listed_at"]), job["id"]


def _place(job: Mapping[str, Any]) -> Place:
    return Place(job["listed_at"], job["id"], job["tenant"], job["kind"])


async def _page(
    connection: AsyncConnection[Any],
    name: str,
    wanted: Filter,
    after: Place,
    *,
    limit: int,
    window: int,
) -> Page:
    values = {
        **after._asdict(),
        "of_tenant": wanted.tenant,
        "of_kind": wanted.kind,
        "state": wanted.state,
        "job_type": wanted.job_type,
        "prefix": wanted.prefix,
        "window": window,
        "limit": limit + 1,
    }
    jobs = [_shown(row) for row in await _all(connection, _QUERIES[name], values)]
    if len(jobs) > limit:
        return Page(jobs[:limit], _place(jobs[limit - 1]), None)
    end = await _one(connection, _QUERIES[f"{name}_end"], values)
    return Page(jobs, Place(*end) if end else None, end[0] if end else None)


_LISTED = (
    "tenant kind id state status job_type attempt worker code error progress created_at updated_at "
    "listed_at"
).split()


def _shown(row: Sequence[Any]) -> dict[str, Any]:
    job = dict(zip(_LISTED, row, strict=True))
    return job | {"progress": _progress(job)}


def _progress(job: Mapping[str, Any]) -> Any:
    """Return a row's progress as progress answers show it: only while processing."""
    return _json(job["progress"]) if job["state"] == State.PROCESSING else None


def _json(text: str | None) -> Any:
    return None if text is None else load_json(text.encode())


async def read_job(connection: AsyncConnection[Any], job: JobKey) -> dict[str, Any] | None:
    """Give a job's row, under `entry_id` the entry that won; its result as JSON text if small."""
    async with _reading(connection):
        values = {**job._asdict(), "result_bytes": RESULT_SHOWN_BYTES}
        row = await _one(connection, _QUERIES["job"], values)
    if row is None:
        return None
    found = dict(zip(_ROW, row, strict=True))
    return found | {"progress": _progress(found)}


_ROW = (
    "tenant kind id state status job_type attempt worker code error progress result result_bytes "
    "labels created_at started_at updated_at ended_at entry_id"
).split()


async def read_result(connection: AsyncConnection[Any], job: JobKey) -> str | None:
    """Give a job's whole result as JSON text; None where it has none."""
    async with _reading(connection):
        row = await _one(connection, _QUERIES["result"], job._asdict())
    return row[0] if row else None


async def read_history(
    connection: AsyncConnection[Any], job: JobKey, after: EntryId, limit: int
) -> list[HistoryEvent]:
    """Give events of a job in the order of the log."""
    values = {**job._asdict(), "ms": after.ms, "seq": after.seq, "limit": limit}
    async with _reading(connection):
        rows = await _all(connection, _QUERIES["history"], values)
    return [HistoryEvent(EntryId(ms, seq), event, landings) for ms, seq, event, landings in rows]


async def read_telling(connection: AsyncConnection[Any], job: JobKey) -> Telling:
    """Give the events that decide about a job, each under every entry that the fold goes by."""
    async with _reading(connection):
        rows = await _all(connection, _QUERIES["telling"], {**job._asdict(), "limit": TELLING})
    events: list[Told] = []
    counts = set()
    for ms, seq, text, last_ms, last_seq, count in rows:
        try:
            event = decode_event(text.encode(), _ANY_SIZE)
        except InvalidEvent:
            continue  # of a version that this process does not know yet
        counts.add((event.type == "progress", count))
        events.append((EntryId(ms, seq), event))
        if last_ms is not None:
            events.append((EntryId(last_ms, last_seq), event))
    return Telling(events, sum(count for _, count in counts))


async def list_stalled(
    connection: AsyncConnection[Any],
    before_ms: int,
    after: tuple[int, JobKey] | None,
    limit: int,
) -> list[dict[str, Any]]:
    """Give jobs at work that the log has not heard of since, the longest silent first."""
    heard, job = after or (-1, JobKey("", "", ""))
    values = {"before": before_ms, "ms": heard, **job._asdict(), "limit": limit}
    async with _reading(connection):
        rows = await _all(connection, _QUERIES["stalled"], values)
    return [
        job | {"progress": _json(job["progress"])}
        for row in rows
        for job in [dict(zip(_STALLED, row, strict=True))]
    ]


_STALLED = "tenant kind id job_type attempt worker progress updated_at heard_ms".split()


async def count_stalled(connection: AsyncConnection[Any], before_ms: int) -> int:
    """Count such jobs, up to `STALLED_COUNTED`."""
    async with _reading(connection):
        row = await _one(
            connection, _QUERIES["count_stalled"], {"before": before_ms, "limit": STALLED_COUNTED}
        )
    return int(row[0]) if row else 0


async def _one(
    connection: AsyncConnection[Any], query: LiteralString, values: Mapping[str, Any]
) -> Any:
    return await (await connection.execute(query, values)).fetchone()


async def _all(
    connection: AsyncConnection[Any], query: LiteralString, values: Mapping[str, Any]
) -> list[Any]:
    return await (await connection.execute(query, values)).fetchall()

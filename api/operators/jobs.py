"""Operators' endpoints on rows and history, of all tenants."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple, TypeVar

import orjson
import psycopg
import redis
from psycopg import AsyncConnection
from starlette.requests import Request
from starlette.routing import Route

from api.answers.progress_answer import answer
from api.http.problems import BadRequest, NoSuchPage
from api.operators.gate import Gate
from projections.reading import all_tenants as rows
from projections.reading.all_tenants import Filter, Place, Telling
from projections.reading.documents import DocumentReader
from projections.reading.explain import explain, timeline
from streams.entry_ids import EntryId
from streams.keys import JOB_ID, TENANT, JobKey
from streams.kinds import KINDS, State

T = TypeVar("T")

Connections = Callable[[], AbstractAsyncContextManager[AsyncConnection[Any]]]
"""Lends a connection to PostgreSQL."""

JOBS = 100
"""Rows of a list at most."""
HISTORY = 200
STALLED_AFTER_SECONDS = 900
"""Where no setting says when a job counts as stalled."""
COUNTED_SECONDS = 10.0
"""How long the number of stalled jobs is taken as it was counted."""
MAX_TEXT = 200


class OpsJobs:
    """Reads jobs for operators."""

    def __init__(
        self,
        connections: Connections,
        reader: DocumentReader,
        *,
        stalled_after_seconds: int | None = None,
    ) -> None:
        self._connections = connections
        self._reader = reader
        self._stalled_after = stalled_after_seconds or STALLED_AFTER_SECONDS
        self._count, self._count_again = 0, float("-inf")

    def routes(self, gate: Gate, url: str) -> list[Route]:
        """Give the routes."""
        job = f"{url}/jobs/{{tenant}}/{{kind}}/{{job_id}}/"
        return [
            gate.reading(f"{url}/jobs/", self.jobs),
            gate.reading(f"{url}/stalled/", self.stalled),
            gate.reading(job, self.job),
            gate.reading(f"{job}history/", self.history),
            gate.reading(f"{job}result/", self.result),
        ]

    async def health(self) -> str:
        """Describe the PostgreSQL server in a few words."""
        async with self._connections() as connection:
            version, sessions, size = await rows.health(connection)
        return f"PostgreSQL {version}, {sessions} sessions, {size / 2**20:.0f} MiB"

    async def stalled_count(self) -> dict[str, Any]:
        """Count jobs at work that are silent, up to a limit."""
        if time.monotonic() >= self._count_again:
            async with self._connections() as connection:
                self._count = await rows.count_stalled(connection, self._silent_since())
            self._count_again = time.monotonic() + COUNTED_SECONDS
        return {
            "count": self._count,
            "more": self._count >= rows.STALLED_COUNTED,
            "after_seconds": self._stalled_after,
        }

    async def jobs(self, request: Request) -> object:
        """Give a page of jobs, newest first or by their ids."""
        wanted = _filter(request)
        after = _cursor(request, Place, (str, str, str, str))
        limit = number_of(request, "limit", 50, JOBS)
        async with self._connections() as connection:
            try:
                page = await rows.list_jobs(connection, wanted, after, limit)
            except psycopg.errors.DataError:  # no such moment in a cursor that somebody made
                raise BadRequest(parameter="cursor") from None
        return {
            "items": page.jobs,
            "next_cursor": page.after and _written(page.after),
            "looked_to": page.looked_to,
        }

    async def stalled(self, request: Request) -> object:
        """Give jobs at work that are silent, the longest first."""
        given = _cursor(request, _StalledPlace, (int, str, str, str))
        after = None if given is None else (given.heard_ms, JobKey(*given[1:]))
        limit = number_of(request, "limit", 50, JOBS)
        async with self._connections() as connection:
            found = await rows.list_stalled(connection, self._silent_since(), after, limit + 1)
        shown, last = _page(found, limit)
        return {
            "items": shown,
            "next_cursor": last and _written([last[name] for name in _StalledPlace._fields]),
            "after_seconds": self._stalled_after,
        }

    async def job(self, request: Request) -> object:
        """Give one job: its row, what Redis serves of it, its life, and why it stands so."""
        key = _job(request)
        async with self._connections() as connection:
            row = await rows.read_job(connection, key)
            telling = await rows.read_telling(connection, key)
        live = await self._live(key)
        if row is None and live is None:
            raise NoSuchPage
        return {
            "job": row,
            "live": live,
            "why": _why(telling, row),
            "timeline": _timeline(telling),
            "events": telling.total,
        }

    async def history(self, request: Request) -> object:
        """Give a job's events in the order of the log, as they came."""
        key, limit = _job(request), number_of(request, "limit", 50, HISTORY)
        text = text_of(request, "cursor")
        try:
            after = EntryId(-1, 0) if text is None else EntryId.parse(text)
        except ValueError:
            raise BadRequest(parameter="cursor") from None
        if after.ms >= 2**63 or after.seq >= 2**63:
            raise BadRequest(parameter="cursor")
        async with self._connections() as connection:
            found = await rows.read_history(connection, key, after, limit + 1)
        shown, last = _page(found, limit)
        items = [each._asdict() | {"entry_id": str(each.entry_id)} for each in shown]
        return {"items": items, "next_cursor": last and str(last.entry_id)}

    async def result(self, request: Request) -> object:
        """Give a job's whole result, as JSON text in JSON."""
        async with self._connections() as connection:
            text = await rows.read_result(connection, _job(request))
        if text is None:
            raise NoSuchPage
        return {"result": text}

    async def _live(self, key: JobKey) -> dict[str, Any] | None:
        try:
            documents = await self._reader.read(key)
        except redis.RedisError:
            return None
        shown = None if documents is None else answer(KINDS[key.kind], key.id, documents)
        return shown and {name: shown.get(name) for name in ("status", "attempt", "updated_at")}

    def _silent_since(self) -> int:
        return time.time_ns() // 1_000_000 - self._stalled_after * 1000


def _why(telling: Telling, row: Mapping[str, Any] | None) -> object:
    found = explain(telling.events)
    if found is None:
        return None
    agrees = row is None or row["entry_id"] == str(found.entry_id)
    losers = [each._asdict() | {"entry_id": str(each.entry_id)} for each in found.losers]
    return {
        **found._asdict(),
        "entry_id": str(found.entry_id),
        "losers": losers,
        # The history may have been dropped by its age, or be a moment ahead of what was read.
        "agrees": agrees,
    }


def _timeline(telling: Telling) -> object:
    spans, marks = timeline(telling.events)
    return {
        "spans": [span._asdict() for span in spans],
        "marks": [mark._asdict() | {"entry_id": str(mark.entry_id)} for mark in marks],
    }


def number_of(request: Request, name: str, default: int, most: int) -> int:
    """Read a whole number from 1 on; a larger one than is given counts as that."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 7 and int(text) > 0):
        raise BadRequest(parameter=name)
    return min(int(text), most)


def text_of(request: Request, name: str) -> str | None:
    """Read a short text; an empty one is none."""
    text = request.query_params.get(name) or None
    if text is not None and (len(text) > MAX_TEXT or "\0" in text or not _encodable(text)):
        raise BadRequest(parameter=name)
    return text


def tenant_of(text: str | None) -> str | None:
    """Check a tenant's name; an empty one is none."""
    if text and not TENANT.match(text):
        raise BadRequest(parameter="tenant")
    return text or None


def _filter(request: Request) -> Filter:
    kind, state = text_of(request, "kind"), text_of(request, "state")
    if kind is not None and kind not in KINDS:
        raise BadRequest(parameter="kind")
    if state is not None and state not in set(State):
        raise BadRequest(parameter="state")
    prefix = text_of(request, "id")
    if prefix is not None and not JOB_ID.match(prefix):
        raise BadRequest(parameter="id")
    return Filter(
        tenant_of(request.query_params.get("tenant")),
        kind,
        state,
        text_of(request, "job_type"),
        prefix,
    )


def _job(request: Request) -> JobKey:
    tenant, kind, job_id = (request.path_params[name] for name in ("tenant", "kind", "job_id"))
    if not TENANT.match(tenant) or kind not in KINDS or not JOB_ID.match(job_id):
        raise NoSuchPage
    return JobKey(tenant, kind, job_id)


def _page(found: Sequence[T], limit: int) -> tuple[Sequence[T], T | None]:
    """Give what a page shows of one row more than that, and its last row where more follow."""
    return found[:limit], found[limit - 1] if len(found) > limit else None


class _StalledPlace(NamedTuple):
    heard_ms: int
    tenant: str
    kind: str
    id: str


P = TypeVar("P", Place, _StalledPlace)


def _written(place: Sequence[Any]) -> str:
    """Write where a list goes on; opaque to whoever gets it."""
    return base64.urlsafe_b64encode(orjson.dumps(list(place))).decode().rstrip("=")


def _cursor(request: Request, make: type[P], types: Sequence[type]) -> P | None:
    """Read what `_written` wrote; anything else is refused."""
    text = request.query_params.get("cursor")
    if not text:
        return None
    try:
        parts = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, binascii.Error):
        raise BadRequest(parameter="cursor") from None
    fits = (
        isinstance(parts, list)
        and [type(part) for part in parts] == list(types)
        and all(
            len(part) <= MAX_TEXT and "\0" not in part
            if isinstance(part, str)
            else 0 <= part < 2**63
            for part in parts
        )
    )
    if not fits:
        raise BadRequest(parameter="cursor")
    return make(*parts)


def _encodable(text: str) -> bool:
    return not any("\ud800" <= each <= "\udfff" for each in text)

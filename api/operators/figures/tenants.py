"""The operators' endpoints for tenants: a list to search and sort, and one tenant.

A *directory* of all tenants, with the values to sort by, is made from the figures in PostgreSQL and
the sorted sets in Redis, and shared by all open consoles for some seconds. A page reads the rest
for its own tenants only. Used by `api.operators.routes` and `api.spec.operations.figures`.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypeVar

from starlette.requests import Request
from starlette.routing import Route

from api.http.cursors import write_cursor
from api.http.problems import BadRequest, NoSuchPage, TryLater
from api.operators.cached_answer import CachedAnswer
from api.operators.figures.jobs import or_none
from api.operators.figures.tenant_history import history_of
from api.operators.gate import Gate
from api.operators.jobs import Connections
from api.operators.letters.view import Facts
from api.operators.operator_view import LateTenants, OperatorView
from api.operators.parameters import cursor_of, number_of, text_of
from projections.reading.all_tenants import figures

T = TypeVar("T")
Json = dict[str, Any]

DEFAULT_LIMIT, MAX_TENANTS = 50, 100
"""The tenants on a page, by default and at most."""

MAX_BUSY = 20_000
"""The tenants whose activity is read, those with the most of it."""

CACHED_SECONDS = 4.0
"""Seconds for which the directory is kept at least."""

FAILURE_HOURS = 24
"""The clock hours over which failures are counted, the present one included: 23 to 24 hours."""

SOURCES = timedelta(minutes=10)
"""The time in which the jobs were created whose types and workers are counted."""

MINUTES_SECONDS = 20.0
"""Seconds for which the minutes of tenants are kept at least; there is a new one each minute."""

MAX_SORTED = 20
"""The orders and searches of one directory that are kept sorted."""

Stored = Mapping[str, tuple[int, int, int]]
"""By tenant: its stored jobs, the bytes of their results, and how many failed in the last
`FAILURE_HOURS`."""
Delivery = tuple[Mapping[str, float] | None, LateTenants | None, Sequence[str] | None]
"""The entries a minute by tenant; the tenants that are behind; those with dead letters. On a
cluster these are on several nodes: one may be None alone."""

ORDERS = ("activity", "lag", "failures", "jobs", "storage", "name")


class Listed(NamedTuple):
    """A tenant in the directory: its values to sort by. Those of a missing server are 0."""

    name: str
    activity: float = 0.0
    """Entries a minute."""
    lag: int = 0
    """The time of the oldest unsettled entry in milliseconds since 1970; 0 if not behind. Unlike
    its age it stays while a reader pages through those that are behind."""
    failures: int = 0
    """The jobs that failed in the last `FAILURE_HOURS`."""
    jobs: int = 0
    """The stored jobs."""
    storage: int = 0
    """The bytes of their results."""


class Directory:
    """All known tenants.

    Args:
        stored: what PostgreSQL knows; None if it did not answer in time.
        delivery: what Redis knows; what is None did not come in time.
    """

    def __init__(self, stored: Stored | None, delivery: Delivery) -> None:
        busy, dead = delivery[0] or {}, delivery[2] or ()
        late, self.more_behind = delivery[1] or LateTenants({}, 0)
        names = {*(stored or ()), *busy, *late, *dead}
        self.tenants: dict[str, Listed] = {}
        for name in names:
            jobs, size, failed = (stored or {}).get(name, (0, 0, 0))
            activity, oldest = busy.get(name, 0.0), late.get(name, 0)
            self.tenants[name] = Listed(name, activity, oldest, failed, jobs, size)
        self.result_bytes = sum(each.storage for each in self.tenants.values())
        parts = {"postgresql": [stored], "redis": delivery}
        self.missing = [server for server, part in parts.items() if None in part]
        """The servers that did not answer in time, or a part of them."""
        self.has_redis = any(part is not None for part in delivery)
        self._sorted: dict[tuple[str, str], Sequence[tuple[float, str]]] = {}

    def sorted_by(self, order: str, part: str) -> Sequence[tuple[float, str]]:
        """Return sort keys and names of tenants, in ascending order.

        A sort key is the negative value, so that the largest value comes first, and equal ones are
        in the order of names. In the order `name` it is 0. In the order `lag` it is the time of the
        oldest unsettled entry, and only tenants that are behind are returned.

        Args:
            order: one of `ORDERS`.
            part: a part of the names, in lower case; empty for all tenants.
        """
        known = self._sorted.get((order, part))
        if known is None:
            known = self._sort(order, part)
            if len(self._sorted) < MAX_SORTED:
                self._sorted[order, part] = known
        return known

    def _sort(self, order: str, part: str) -> Sequence[tuple[float, str]]:
        found = [each for each in self.tenants.values() if part in each.name.lower()]
        if order == "name":
            return sorted((0.0, each.name) for each in found)
        if order == "lag":
            return sorted((float(each.lag), each.name) for each in found if each.lag)
        return sorted((-float(getattr(each, order)), each.name) for each in found)


class OperatorTenantEndpoints:
    """The endpoints for tenants.

    Args:
        connections: lends connections to PostgreSQL.
        view: reads what Redis knows of delivery.
    """

    def __init__(self, connections: Connections, view: OperatorView) -> None:
        self._connections = connections
        self._view = view
        self._directory = CachedAnswer(self._read_directory, CACHED_SECONDS, _is_partial)
        self._minutes = CachedAnswer(self._read_minutes, MINUTES_SECONDS)

    def routes(self, gate: Gate, url: str) -> list[Route]:
        """Return the routes below a URL, for operators only."""
        return [
            gate.read_route(f"{url}/tenants/", self.tenants),
            gate.read_route(f"{url}/tenants/{{tenant}}/", self.tenant),
        ]

    async def tenants(self, request: Request) -> object:
        """Return a page of tenants, the largest value of the order first.

        Raises:
            BadRequest: a parameter or the cursor is not valid.
        """
        order = request.query_params.get("order") or "activity"
        if order not in ORDERS:
            raise BadRequest(parameter="order")
        part = (text_of(request, "name") or "").lower()
        limit = number_of(request, "limit", DEFAULT_LIMIT, MAX_TENANTS)
        identity = ["tenants", order, part]
        after = cursor_of(request, identity, (str, str))
        directory = await self._directory.get()
        found = await asyncio.to_thread(directory.sorted_by, order, part)
        first = 0 if after is None else bisect_right(found, (_number(after[0]), after[1]))
        page = found[first : first + limit]
        more = len(found) > first + limit
        items, missing = await self._items(directory, [name for _, name in page])
        return {
            "items": items,
            "next_cursor": write_cursor(identity, list(map(str, page[-1]))) if more else None,
            "count": len(found) + (0 if order != "lag" or part else directory.more_behind),
            "listed": len(found),
            "known": len(directory.tenants),
            "missing": missing,
        }

    async def tenant(self, request: Request) -> object:
        """Return one tenant: its jobs, its failures, its delivery, its storage, its last hour.

        Raises:
            NoSuchPage: there is no such tenant.
            TryLater: no server that answered knows it, and another one did not answer in time.
        """
        name = request.path_params["tenant"]
        directory = await self._directory.get()
        if name not in directory.tenants:
            if directory.missing:
                raise TryLater(missing=list(directory.missing))
            raise NoSuchPage
        (item,), missing = await self._items(directory, [name])
        has_rows, has_redis = "postgresql" not in missing, "redis" not in missing
        stored, minutes, used = await asyncio.gather(
            _if(has_rows, lambda: self._stored(name)),
            _if(has_redis, self._minutes.get),
            _if(has_redis, lambda: asyncio.to_thread(self._view.used_bytes)),
        )
        if has_rows and stored is None:
            missing.append("postgresql")
        return {
            **item,
            "stored": stored,
            "history": None if minutes is None else history_of(minutes, name),
            "redis_bytes": used,
            "all_result_bytes": directory.result_bytes if has_rows else None,
            "missing": missing,
        }

    async def _stored(self, tenant: str) -> Json:
        since = datetime.now(UTC) - SOURCES
        async with self._connections() as connection:
            stored = await figures.read_tenant(connection, tenant, _failures_since())
            return stored | {"sources": await figures.read_sources(connection, tenant, since)}

    async def _read_minutes(self) -> Sequence[Facts]:
        return await asyncio.to_thread(self._view.tenant_minutes)

    async def _items(
        self, directory: Directory, names: Sequence[str]
    ) -> tuple[list[Json], list[str]]:
        """Return the JSON of tenants, and the servers that did not answer in time."""
        missing = list(directory.missing)
        delivery: Sequence[Facts | None] | None = None
        if directory.has_redis:  # else the time limit of the answer might pass
            delivery = await or_none(asyncio.to_thread(self._view.tenants, names))
            if delivery is None and "redis" not in missing:
                missing.append("redis")
        items = [
            _item(directory.tenants[name], missing, facts)
            for name, facts in zip(names, delivery or [None] * len(names), strict=True)
        ]
        return items, missing

    async def _read_directory(self) -> Directory:
        view = self._view
        stored, busy, late, dead = await asyncio.gather(
            or_none(self._all_stored()),
            or_none(asyncio.to_thread(view.busy_tenants, MAX_BUSY)),
            or_none(asyncio.to_thread(view.late_tenants)),
            or_none(asyncio.to_thread(view.dead_tenants)),
        )
        return await asyncio.to_thread(Directory, stored, (busy, late, dead))

    async def _all_stored(self) -> Stored:
        async with self._connections() as connection:
            return await figures.read_tenants(connection, _failures_since())


async def _if(is_known: bool, work: Callable[[], Awaitable[T]]) -> T | None:  # noqa: FBT001
    """Return a part of an answer; None at once if its server is missing already.

    Otherwise the time limit of the answer might pass.
    """
    return await or_none(work()) if is_known else None


def _is_partial(directory: Directory) -> bool:
    """Return whether a directory lacks the values of a server."""
    return bool(directory.missing)


def _item(tenant: Listed, missing: Sequence[str], delivery: Facts | None) -> Json:
    """Return the JSON of a tenant; what is not known is null.

    Args:
        tenant: its values in the directory.
        missing: the servers that did not answer in time.
        delivery: what Redis knows of it now; None if Redis, or its node of a cluster, did not
            answer in time.
    """
    none: Json = dict.fromkeys(("groups", "per_minute", "dead", "stream", "behind_seconds"))
    has_rows = "postgresql" not in missing
    return {
        **(none if delivery is None else delivery),
        "tenant": tenant.name,
        "failed": tenant.failures if has_rows else None,
        "jobs": tenant.jobs if has_rows else None,
        "result_bytes": tenant.storage if has_rows else None,
    }


def _failures_since() -> datetime:
    """Return the start of the first of the hours in which failures count."""
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    return now - timedelta(hours=FAILURE_HOURS - 1)


def _number(text: str) -> float:
    """Return the number in a cursor; raise BadRequest if it is none."""
    try:
        return float(text)
    except ValueError:
        raise BadRequest(parameter="cursor") from None

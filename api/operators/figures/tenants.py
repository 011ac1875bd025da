"""The operators' endpoints for tenants: a list to search and sort, and one tenant.

A *directory* of all tenants, with the values to sort by, is made from the figures in PostgreSQL and
the sorted sets in Redis, and shared by all open consoles for some seconds. A page reads the rest
for its own tenants only. Used by `api.operators.routes`.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.routing import Route

from api.http.cursors import write_cursor
from api.http.problems import BadRequest, NoSuchPage, TryLater
from api.operators.cached_answer import CachedAnswer
from api.operators.figures.jobs import or_none
from api.operators.gate import Gate
from api.operators.jobs import Connections
from api.operators.letters.view import Facts
from api.operators.operator_view import OperatorView
from api.operators.parameters import cursor_of, number_of, text_of
from projections.reading.all_tenants import figures

Json = dict[str, Any]

DEFAULT_LIMIT, MAX_TENANTS = 50, 100
"""The tenants on a page, by default and at most."""

MAX_BUSY = 20_000
"""The tenants whose activity is read, those with the most of it."""

CACHED_SECONDS = 4.0
"""Seconds for which the directory is kept at least."""

FAILURE_HOURS = 24
"""The clock hours over which failures are counted, the present one included: 23 to 24 hours."""

MAX_SORTED = 20
"""The orders and searches of one directory that are kept sorted."""

Stored = Mapping[str, tuple[int, int, int]]
"""By tenant: its stored jobs, the bytes of their results, and how many failed in the last
`FAILURE_HOURS`."""
Delivery = tuple[Mapping[str, float] | None, Mapping[str, float] | None, Sequence[str] | None]
"""By tenant: its entries a minute, and the age of its oldest unsettled entry in seconds if it is
behind; and the tenants with dead letters. On a cluster these are on several nodes: one may be None
alone."""

ORDERS = ("activity", "lag", "failures", "jobs", "storage", "name")


class Listed(NamedTuple):
    """A tenant in the directory: its values to sort by. Those of a missing server are 0."""

    name: str
    activity: float = 0.0
    """Entries a minute."""
    lag: float = 0.0
    """The age of the oldest unsettled entry in seconds; 0 if the tenant is not behind."""
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
        busy, late, dead = delivery[0] or {}, delivery[1] or {}, delivery[2] or ()
        names = {*(stored or ()), *busy, *late, *dead}
        self.tenants: dict[str, Listed] = {}
        for name in names:
            jobs, size, failed = (stored or {}).get(name, (0, 0, 0))
            activity, lag = busy.get(name, 0.0), late.get(name, 0.0)
            self.tenants[name] = Listed(name, activity, lag, failed, jobs, size)
        parts = {"postgresql": [stored], "redis": delivery}
        self.missing = [server for server, part in parts.items() if None in part]
        """The servers that did not answer in time, or a part of them."""
        self.has_redis = any(part is not None for part in delivery)
        self._sorted: dict[tuple[str, str], Sequence[tuple[float, str]]] = {}

    def sorted_by(self, order: str, part: str) -> Sequence[tuple[float, str]]:
        """Return sort keys and names of tenants, in ascending order.

        A sort key is the negative value, so that the largest value comes first, and equal ones are
        in the order of names. In the order `name` it is 0. In the order `lag`, only tenants that
        are behind are returned.

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
            found = [each for each in found if each.lag]
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
            "count": len(found),
            "known": len(directory.tenants),
            "missing": missing,
        }

    async def tenant(self, request: Request) -> object:
        """Return one tenant: its jobs, its failures, its delivery and its storage.

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
        stored = None
        if "postgresql" not in missing:  # else the time limit of the answer might pass
            stored = await or_none(self._stored(name))
            if stored is None:
                missing.append("postgresql")
        return {**item, "stored": stored, "missing": missing}

    async def _stored(self, tenant: str) -> Json:
        async with self._connections() as connection:
            return await figures.read_tenant(connection, tenant, _failures_since())

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
    none: Json = {"groups": None, "per_minute": None, "dead": None, "stream": None}
    has_redis = delivery is not None and "redis" not in missing
    has_rows = "postgresql" not in missing
    return {
        **(none if delivery is None else delivery),
        "tenant": tenant.name,
        "behind_seconds": round(tenant.lag, 3) if has_redis else None,
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

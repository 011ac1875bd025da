"""Operators' endpoints: what the console shows, of all tenants."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import psycopg
import redis
import structlog
from starlette.requests import Request
from starlette.routing import Route

from api.access.auth import Authenticator, Caller
from api.http.problems import BadRequest, NoSuchPage
from api.http.trailing_slashes import with_either_slash
from api.operators.console import console_routes
from api.operators.delivery import Desk, NotKept
from api.operators.gate import Gate
from api.operators.jobs import OpsJobs, number_of, tenant_of, text_of
from api.scheduling.bounded_wait import within
from streams.kinds import KINDS
from streams.settings import Settings

T = TypeVar("T")

_LOG = structlog.get_logger(__name__)

URL = "/api/v1/ops"
TENANTS = 100
LETTERS = 50
PART_SECONDS = 3.0
"""How long a part of the overview may take before it is left out."""


def ops_routes(
    settings: Settings, authenticator: Authenticator, desk: Desk | None, jobs: OpsJobs
) -> list[Route]:
    """Give the routes, and the console's pages; none without a desk.

    Each of the endpoints takes the scope `ops`, and answers anybody else the same.
    """
    if desk is None:
        return []
    gate = Gate(authenticator)
    ops = _Ops(settings, desk, jobs)
    letter = f"{URL}/dead/{{tenant}}/{{letter}}"
    routes = [
        gate.reading(f"{URL}/session/", ops.session),
        gate.reading(f"{URL}/overview/", ops.overview),
        gate.reading(f"{URL}/tenants/", ops.tenants),
        gate.reading(f"{URL}/dead/", ops.letters),
        gate.reading(f"{letter}/", ops.letter),
        gate.acting(f"{letter}/requeue/", ops.requeue),
        gate.acting(f"{letter}/discard/", ops.discard),
        *jobs.routes(gate, URL),
    ]
    return [*with_either_slash(routes), *console_routes()]


class _Ops:
    def __init__(self, settings: Settings, desk: Desk, jobs: OpsJobs) -> None:
        self._mode = settings.auth
        self._desk = desk
        self._jobs = jobs

    async def session(self, _request: Request) -> object:
        """Return how the server authenticates callers, and the kinds of jobs that it knows."""
        return {"mode": self._mode, "kinds": list(KINDS)}

    async def overview(self, _request: Request) -> object:
        """Give all at a glance; a server that is away leaves its part out."""
        samples, consumers, stalled, *servers = await asyncio.gather(
            _or_none(asyncio.to_thread(self._desk.samples)),
            _or_none(asyncio.to_thread(self._desk.consumers)),
            _or_none(self._jobs.stalled_count()),
            _server("redis", asyncio.to_thread(self._desk.health)),
            _server("postgresql", self._jobs.health()),
        )
        return {
            "samples": samples,
            "consumers": consumers,
            "stalled": stalled,
            "servers": servers,
        }

    async def tenants(self, request: Request) -> object:
        """Give tenants by activity or lag."""
        order = request.query_params.get("order", "activity")
        if order not in ("activity", "lag"):
            raise BadRequest(parameter="order")
        limit = number_of(request, "limit", TENANTS, TENANTS)
        return {"items": await asyncio.to_thread(self._desk.tenants, order, limit)}

    async def letters(self, request: Request) -> object:
        """Give dead letters, of one tenant or the latest of all."""
        tenant = tenant_of(request.query_params.get("tenant"))
        limit = number_of(request, "limit", LETTERS, LETTERS)
        before = text_of(request, "cursor")
        try:
            found = await asyncio.to_thread(self._desk.letters, tenant, before, limit)
        except ValueError:
            raise BadRequest(parameter="cursor") from None
        return {"items": found.items, "next_cursor": found.after, "tenants": found.tenants}

    async def letter(self, request: Request) -> object:
        """Give one dead letter with its bytes."""
        return await self._with_letter(request, self._desk.letter)

    async def requeue(self, request: Request, caller: Caller) -> object:
        """Append a dead letter's entry again."""
        try:
            added = await self._with_letter(request, self._desk.requeue)
        except NotKept as error:
            raise BadRequest(parameter="letter", reason=str(error)) from None
        _log("dead_letter_requeued", request, caller, entry_id=added)
        return {"entry_id": added}

    async def discard(self, request: Request, caller: Caller) -> object:
        """Delete a dead letter."""
        await self._with_letter(request, self._desk.discard)
        _log("dead_letter_discarded", request, caller)
        return {"discarded": True}

    async def _with_letter(self, request: Request, act: Callable[[str, str], T]) -> T:
        """Do it; a letter that is not there, or not any more, is the same to everybody."""
        tenant = tenant_of(request.path_params["tenant"])
        if tenant is None:
            raise NoSuchPage
        try:
            done = await asyncio.to_thread(act, tenant, request.path_params["letter"])
        except ValueError:
            raise NoSuchPage from None
        if not done:
            raise NoSuchPage
        return done


def _log(event: str, request: Request, caller: Caller, **facts: Any) -> None:
    """Say who did what to which letter; never with a header of the request."""
    _LOG.info(
        event,
        tenant=request.path_params["tenant"],
        letter=request.path_params["letter"],
        by_tenant=caller.tenant,
        by_address=request.client.host if request.client else None,
        **facts,
    )


async def _or_none(work: Awaitable[T]) -> T | None:
    """Wait for one part of the overview, which a server that hangs must not keep from the rest."""
    try:
        return await within(PART_SECONDS, work)
    except (redis.RedisError, psycopg.Error, TimeoutError):
        return None


async def _server(name: str, work: Awaitable[str]) -> dict[str, Any]:
    words = await _or_none(work)
    return {"name": name, "ok": words is not None, "words": words or "away or refusing"}

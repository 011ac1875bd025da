"""The routes of operators' endpoints and of the console, and the endpoints about delivery.

The endpoints about jobs are in `api.operators.jobs`. Used by `api.app`.
"""

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
from api.operators.gate import Gate
from api.operators.jobs import OperatorJobEndpoints
from api.operators.operator_view import EntryNotKept, OperatorView
from api.operators.parameters import number_of, tenant_of, text_of
from api.scheduling.bounded_wait import wait_shielded
from streams.kinds import KINDS
from streams.settings import Settings

T = TypeVar("T")

_LOG = structlog.get_logger(__name__)

URL = "/api/v1/ops"

MAX_TENANTS = 100
"""The most tenants in one answer."""

MAX_LETTERS = 50
"""The most dead letters in one answer."""

PART_SECONDS = 3.0
"""The time limit for each part of the overview; a part that takes longer is null."""


def operator_routes(
    settings: Settings,
    authenticator: Authenticator,
    view: OperatorView | None,
    jobs: OperatorJobEndpoints,
) -> list[Route]:
    """Return the routes; none without a view of delivery.

    The endpoints require the scope `ops` and answer all other callers alike.
    """
    if view is None:
        return []
    gate = Gate(authenticator)
    endpoints = _Endpoints(settings, view, jobs)
    letter = f"{URL}/dead/{{tenant}}/{{letter}}"
    routes = [
        gate.read_route(f"{URL}/session/", endpoints.session),
        gate.read_route(f"{URL}/overview/", endpoints.overview),
        gate.read_route(f"{URL}/tenants/", endpoints.tenants),
        gate.read_route(f"{URL}/dead/", endpoints.letters),
        gate.read_route(f"{letter}/", endpoints.letter),
        gate.action_route(f"{letter}/requeue/", endpoints.requeue),
        gate.action_route(f"{letter}/discard/", endpoints.discard),
        *jobs.routes(gate, URL),
    ]
    return [*with_either_slash(routes), *console_routes()]


class _Endpoints:
    """The endpoints about delivery; each method returns the JSON value of an answer."""

    def __init__(self, settings: Settings, view: OperatorView, jobs: OperatorJobEndpoints) -> None:
        self._mode = settings.auth
        self._view = view
        self._jobs = jobs

    async def session(self, _request: Request) -> object:
        """Return the server's mode of authentication, and the kinds of jobs that it knows."""
        return {"mode": self._mode, "kinds": list(KINDS)}

    async def overview(self, _request: Request) -> object:
        """Return the overview; the part of an unavailable server is null."""
        samples, consumers, stalled, *servers = await asyncio.gather(
            _or_none(asyncio.to_thread(self._view.samples)),
            _or_none(asyncio.to_thread(self._view.consumers)),
            _or_none(self._jobs.stalled_count()),
            _server("redis", asyncio.to_thread(self._view.health)),
            _server("postgresql", self._jobs.health()),
        )
        return {
            "samples": samples,
            "consumers": consumers,
            "stalled": stalled,
            "servers": servers,
        }

    async def tenants(self, request: Request) -> object:
        """Return tenants by activity or lag."""
        order = request.query_params.get("order", "activity")
        if order not in ("activity", "lag"):
            raise BadRequest(parameter="order")
        limit = number_of(request, "limit", MAX_TENANTS, MAX_TENANTS)
        return {"items": await asyncio.to_thread(self._view.tenants, order, limit)}

    async def letters(self, request: Request) -> object:
        """Return dead letters of one tenant, or the latest of all tenants."""
        tenant = tenant_of(request.query_params.get("tenant"))
        limit = number_of(request, "limit", MAX_LETTERS, MAX_LETTERS)
        before = text_of(request, "cursor")
        try:
            found = await asyncio.to_thread(self._view.letters, tenant, before, limit)
        except ValueError:
            raise BadRequest(parameter="cursor") from None
        return {"items": found.items, "next_cursor": found.after, "tenants": found.tenants}

    async def letter(self, request: Request) -> object:
        """Return one dead letter with its content."""
        return await _with_letter(request, self._view.letter)

    async def requeue(self, request: Request, caller: Caller) -> object:
        """Append a dead letter's entry again."""
        try:
            entry_id = await _with_letter(request, self._view.requeue)
        except EntryNotKept as error:
            raise BadRequest(parameter="letter", reason=str(error)) from None
        _log("dead_letter_requeued", request, caller, entry_id=entry_id)
        return {"entry_id": entry_id}

    async def discard(self, request: Request, caller: Caller) -> object:
        """Delete a dead letter."""
        await _with_letter(request, self._view.discard)
        _log("dead_letter_discarded", request, caller)
        return {"discarded": True}


async def _with_letter(request: Request, act: Callable[[str, str], T]) -> T:
    """Return the result of an operation on the dead letter in the path.

    Raises:
        NoSuchPage: the letter does not exist, or does not exist any more.
    """
    tenant = tenant_of(request.path_params["tenant"])
    if tenant is None:
        raise NoSuchPage
    try:
        result = await asyncio.to_thread(act, tenant, request.path_params["letter"])
    except ValueError:
        raise NoSuchPage from None
    if not result:
        raise NoSuchPage
    return result


def _log(event: str, request: Request, caller: Caller, **fields: Any) -> None:
    """Log an operator's action, without the request's headers."""
    _LOG.info(
        event,
        tenant=request.path_params["tenant"],
        letter=request.path_params["letter"],
        by_tenant=caller.tenant,
        by_address=request.client.host if request.client else None,
        **fields,
    )


async def _or_none(work: Awaitable[T]) -> T | None:
    """Return a part of the overview; None if its server does not answer in time."""
    try:
        return await wait_shielded(work, PART_SECONDS)
    except (redis.RedisError, psycopg.Error, TimeoutError):
        return None


async def _server(name: str, work: Awaitable[str]) -> dict[str, Any]:
    """Return the JSON of a server's state; `work` returns the server's description."""
    description = await _or_none(work)
    return {
        "name": name,
        "ok": description is not None,
        "description": description or "unavailable",
    }

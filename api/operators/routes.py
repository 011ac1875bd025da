"""The routes of operators' endpoints and of the console, and the endpoints about delivery.

The endpoints about jobs are in `api.operators.jobs`, those about dead letters in
`api.operators.letters.endpoints`. Used by `api.app` and `api.spec.operations.operator_operation`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Mapping
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.routing import Route

from api.access.auth import Authenticator
from api.http.trailing_slashes import with_either_slash
from api.operators.actions.endpoint import ActionListEndpoints
from api.operators.actions.log import ActionLog, storable
from api.operators.console import console_routes
from api.operators.database import OperatorDatabase
from api.operators.figures.alerts import OperatorAlertEndpoint
from api.operators.figures.issues import OperatorIssueEndpoint
from api.operators.figures.jobs import OperatorFigureEndpoints, or_none
from api.operators.figures.tenants import OperatorTenantEndpoints
from api.operators.gate import Gate, may_act
from api.operators.jobs import OperatorJobEndpoints
from api.operators.letters.endpoints import DeadLetterEndpoints
from api.operators.operator_view import OperatorView
from streams.kinds import KINDS
from streams.settings import Settings

T = TypeVar("T")

URL = "/api/v1/ops"

_UNAVAILABLE = {
    "description": "unavailable",
    "refuses_writes": None,
    "used_bytes": None,
    "max_bytes": None,
}
"""The facts of a server that is unavailable."""


def operator_routes(
    settings: Settings,
    authenticator: Authenticator,
    view: OperatorView | None,
    jobs: OperatorJobEndpoints,
    database: OperatorDatabase,
) -> list[Route]:
    """Return the routes; none without a view of delivery.

    The endpoints require the scope `ops`, or `ops:read` where they change nothing. They answer all
    other callers alike.
    """
    if view is None:
        return []
    gate = Gate(authenticator)
    endpoints, actions = _Endpoints(settings, gate, view, jobs), ActionLog(database)
    figures = OperatorFigureEndpoints(
        database.connection, view, stalled_after_seconds=settings.stalled_after_seconds
    )
    routes = [
        gate.read_route(f"{URL}/session/", endpoints.session, shared=False),
        gate.read_route(f"{URL}/overview/", endpoints.overview),
        *ActionListEndpoints(actions).routes(gate, URL),
        *DeadLetterEndpoints(view.dead_letters, actions).routes(gate, URL),
        *jobs.routes(gate, URL),
        *figures.routes(gate, URL),
        *OperatorTenantEndpoints(database.connection, view).routes(gate, URL),
        *OperatorIssueEndpoint(database.connection, view).routes(gate, URL),
        *OperatorAlertEndpoint(settings.prometheus_url).routes(gate, URL),
    ]
    return [*with_either_slash(routes), *console_routes()]


class _Endpoints:
    """The endpoints about delivery; each method returns the JSON value of an answer."""

    def __init__(
        self,
        settings: Settings,
        gate: Gate,
        view: OperatorView,
        jobs: OperatorJobEndpoints,
    ) -> None:
        self._mode = settings.auth
        self._gate = gate
        self._view = view
        self._jobs = jobs
        self._away_since: dict[str, int] = {}

    async def session(self, request: Request) -> object:
        """Return who the caller is and whether they may act, and what the server knows."""
        caller = self._gate.admit(request)
        return {
            "mode": self._mode,
            "kinds": list(KINDS),
            "subject": storable(caller.subject),
            "may_act": may_act(caller),
        }

    async def overview(self, _request: Request) -> object:
        """Return the overview; the part of an unavailable server is null."""
        samples, consumers, stalled, *servers = await asyncio.gather(
            or_none(asyncio.to_thread(self._view.samples)),
            or_none(asyncio.to_thread(self._view.consumers)),
            or_none(self._jobs.stalled_count()),
            self._server("redis", asyncio.to_thread(self._view.health)),
            self._server("postgresql", self._jobs.health()),
        )
        return {
            "samples": samples,
            "consumers": consumers,
            "stalled": stalled,
            "servers": servers,
        }

    async def _server(self, name: str, work: Awaitable[Mapping[str, Any]]) -> dict[str, Any]:
        """Return a server's status; `work` returns what is known of an available one."""
        found = await or_none(work)
        if found is None:
            since = self._away_since.setdefault(name, time.time_ns() // 1_000_000)
            return {"name": name, "ok": False, **_UNAVAILABLE, "since": since}
        self._away_since.pop(name, None)
        return {"name": name, "ok": True, **_UNAVAILABLE, "since": None, **found}

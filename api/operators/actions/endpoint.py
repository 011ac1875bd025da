"""The endpoints of the lists of operators' actions.

Used by `api.operators.routes` and `api.spec.operations.dead_letters`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.routing import Route

from api.http.cursors import write_cursor
from api.operators.actions.log import ActionFilter, ActionLog, ActionRow
from api.operators.actions.requests import RequestPage, by_request, request_facts
from api.operators.gate import Gate
from api.operators.parameters import cursor_of, number_of, tenant_of, text_of
from streams.events import load_json

MAX_ITEMS = 50
"""The most actions, or requests, on a page."""
MAX_STEPS = 1_000
"""The most actions that are read for a page of requests: 30 to 70 ms for PostgreSQL."""

_NEWEST = 2**63 - 1
"""An id above all others."""


class ActionListEndpoints:
    """The endpoints of the lists."""

    def __init__(self, actions: ActionLog) -> None:
        self._actions = actions

    def routes(self, gate: Gate, url: str) -> list[Route]:
        """Return the routes below a URL, for operators only."""
        return [
            gate.read_route(f"{url}/actions/", self.actions),
            gate.read_route(f"{url}/actions/requests/", self.requests),
        ]

    async def actions(self, request: Request) -> object:
        """Return a page of recorded actions, newest first."""
        wanted = _filter_of(request)
        identity = ["actions", *wanted]
        (before,) = cursor_of(request, identity, (int,)) or (_NEWEST,)
        limit = number_of(request, "limit", MAX_ITEMS, MAX_ITEMS)
        rows = await self._actions.page(wanted, before, limit + 1)
        more = len(rows) > limit
        return {
            "items": [_item(row) for row in rows[:limit]],
            "next_cursor": write_cursor(identity, [rows[limit - 1].id]) if more else None,
        }

    async def requests(self, request: Request) -> object:
        """Return a page of the same, in which consecutive actions of one request are one item."""
        wanted = _filter_of(request)
        identity = ["requests", *wanted]
        before, was_cut = cursor_of(request, identity, (int, int)) or (_NEWEST, 0)
        limit = number_of(request, "limit", MAX_ITEMS, MAX_ITEMS)
        rows = await self._actions.page(wanted, before, MAX_STEPS + 1, only_counts=True)
        found = by_request(rows, limit, MAX_STEPS)
        cut = {0} if was_cut else set[int]()
        if found.is_cut:
            cut.add(len(found.items) - 1)
        return {
            "items": [
                request_facts(each, whole=number not in cut)
                for number, each in enumerate(found.items)
            ],
            "next_cursor": _place(identity, rows, found),
        }


def _place(identity: Sequence[object], rows: Sequence[ActionRow], found: RequestPage) -> str | None:
    """Return the cursor of the next page of requests; None on the last page."""
    if found.used == len(rows):
        return None
    return write_cursor(identity, [rows[found.used - 1].id, int(found.is_cut)])


def _filter_of(request: Request) -> ActionFilter:
    return ActionFilter(
        actor=text_of(request, "actor"),
        action=text_of(request, "action"),
        request_id=text_of(request, "request_id"),
        tenant=tenant_of(request.query_params.get("tenant")),
    )


def _item(row: ActionRow) -> Mapping[str, Any]:
    return row._asdict() | {
        "target": load_json(row.target.encode()),
        "tenants": row.tenants or [],
        "details": None if row.details is None else load_json(row.details.encode()),
    }

"""The endpoint of the list of operators' actions. Used by `api.operators.routes`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

from api.http.cursors import write_cursor
from api.operators.actions.log import ActionFilter, ActionLog, ActionRow
from api.operators.parameters import cursor_of, number_of, tenant_of, text_of
from streams.events import load_json

MAX_ITEMS = 50
"""The most actions on a page."""

_NEWEST = 2**63 - 1
"""An id above all others."""


class ActionListEndpoint:
    """The endpoint of the list."""

    def __init__(self, actions: ActionLog) -> None:
        self._actions = actions

    async def actions(self, request: Request) -> object:
        """Return a page of recorded actions, newest first."""
        wanted = ActionFilter(
            actor=text_of(request, "actor"),
            action=text_of(request, "action"),
            request_id=text_of(request, "request_id"),
            tenant=tenant_of(request.query_params.get("tenant")),
        )
        identity = ["actions", *wanted]
        values = cursor_of(request, identity, (int,))
        limit = number_of(request, "limit", MAX_ITEMS, MAX_ITEMS)
        rows = await self._actions.page(wanted, values[0] if values else _NEWEST, limit + 1)
        more = len(rows) > limit
        return {
            "items": [_item(row) for row in rows[:limit]],
            "next_cursor": write_cursor(identity, [rows[limit - 1].id]) if more else None,
        }


def _item(row: ActionRow) -> Mapping[str, Any]:
    return row._asdict() | {
        "target": load_json(row.target.encode()),
        "tenants": row.tenants or [],
        "details": None if row.details is None else load_json(row.details.encode()),
    }

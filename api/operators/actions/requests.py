"""Recorded actions folded by request: all steps of one bulk action are one item.

A bulk action is several requests of an operator with one request id, each of which is recorded.
Used by `api.operators.actions.endpoint`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from api.operators.actions.log import ActionRow
from streams.events import load_json

MAX_TENANTS = 5
"""The most tenants of an item that are listed by name."""


class RequestPage(NamedTuple):
    """Recorded actions by request, those with the newest actions first."""

    items: Sequence[Sequence[ActionRow]]
    """For each request its actions, newest first."""
    used: int
    """The rows that the items have."""
    is_cut: bool
    """True if further actions of the last request follow."""


def by_request(rows: Sequence[ActionRow], limit: int, most: int) -> RequestPage:
    """Return the first requests; one begins again if another one's actions are between.

    Args:
        rows: actions, newest first.
        limit: the most requests.
        most: the most actions.
    """
    items: list[list[ActionRow]] = []
    for used, row in enumerate(rows):
        is_next = not items or _identity(items[-1][0]) != _identity(row)
        if used == most or (is_next and len(items) == limit):
            return RequestPage(items, used, is_cut=not is_next)
        if is_next:
            items.append([])
        items[-1].append(row)
    return RequestPage(items, len(rows), is_cut=False)


def request_facts(rows: Sequence[ActionRow], *, whole: bool) -> Mapping[str, Any]:
    """Return the JSON of a request.

    Args:
        rows: its actions, newest first, with the counts of their details only.
        whole: whether these are all.
    """
    newest, oldest = rows[0], rows[-1]
    counts = Counter[str]()
    for row in rows:
        # Any program with the role may have written the details.
        found = load_json(row.details.encode()) if row.details else None
        if isinstance(found, dict):
            counts.update({name: n for name, n in found.items() if type(n) is int})
    tenants = list(dict.fromkeys(row.tenant for row in rows if row.tenant is not None))
    return {
        "id": newest.id,
        "at": oldest.at,
        "ended_at": max((row.ended_at for row in rows if row.ended_at), default=None),
        "request_id": newest.request_id,
        "via": newest.via,
        "actor": newest.actor,
        "actor_tenant": newest.actor_tenant,
        "address": newest.address,
        "action": newest.action,
        "target": load_json(oldest.target.encode()),
        "tenants": tenants[:MAX_TENANTS],
        "tenant_count": len(tenants),
        "steps": len(rows),
        "outcomes": [
            {"outcome": name, "steps": n}
            for name, n in Counter(row.outcome for row in rows).most_common()
        ],
        "counts": counts,
        "whole": whole,
    }


def _identity(row: ActionRow) -> tuple[str | None, ...]:
    return row.request_id, row.via, row.actor, row.actor_tenant, row.action

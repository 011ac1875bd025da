"""The operators' endpoints for dead letters: lists, groups, and actions on one or many of them.

Each method returns the JSON value of an answer. Used by `api.operators.routes` and
`api.spec.operations.dead_letters`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import structlog
from starlette.requests import Request
from starlette.routing import Route

from api.access.auth import Caller
from api.http.cursors import write_cursor
from api.http.problems import BadRequest, NoSuchPage
from api.operators.actions.log import Action, ActionLog, Done
from api.operators.gate import Gate
from api.operators.letters.parameters import (
    entries_of,
    is_entry_id,
    place_of,
    selection_of,
)
from api.operators.letters.view import (
    CannotRequeue,
    DeadLetterView,
    LetterAction,
    LetterPlace,
    LetterSelection,
)
from api.operators.parameters import number_of, tenant_of, text_of

T = TypeVar("T")

_LOG = structlog.get_logger(__name__)

MAX_LETTERS = 50
"""The most dead letters in one answer."""
MAX_ACTIONS = 100
"""The most dead letters that one request requeues or discards."""
MAX_ENTRIES = 50
"""The most requeued entries in one request."""

_EVENTS = {"requeue": "dead_letter_requeued", "discard": "dead_letter_discarded"}
"""The names of lines in the process's log, by action."""


class DeadLetterEndpoints:
    """The endpoints for dead letters."""

    def __init__(self, view: DeadLetterView, actions: ActionLog) -> None:
        self._view = view
        self._actions = actions

    def routes(self, gate: Gate, url: str) -> list[Route]:
        """Return the routes below a URL, for operators only."""
        letters, letter = f"{url}/dead", f"{url}/dead/{{tenant}}/{{letter}}"
        return [
            gate.read_route(f"{letters}/", self.letters),
            gate.read_route(f"{letters}/groups/", self.groups),
            gate.read_route(f"{letters}/requeued/", self.requeued),
            gate.action_route(f"{letters}/requeue/", self.requeue_matching),
            gate.action_route(f"{letters}/discard/", self.discard_matching),
            gate.read_route(f"{letter}/", self.letter),
            gate.action_route(f"{letter}/requeue/", self.requeue),
            gate.action_route(f"{letter}/discard/", self.discard),
        ]

    async def letters(self, request: Request) -> object:
        """Return dead letters of one tenant, those of all tenants that match, or the latest."""
        selection = selection_of(request)
        limit = number_of(request, "limit", MAX_LETTERS, MAX_LETTERS)
        if selection.tenant is None and selection.filters:
            place = place_of(request, _identity(selection))
            found = await asyncio.to_thread(self._view.matching, selection, place, limit)
        else:
            before = text_of(request, "cursor")
            try:
                found = await asyncio.to_thread(self._view.letters, selection, before, limit)
            except ValueError:
                raise BadRequest(parameter="cursor") from None
        return {
            "items": found.items,
            "next_cursor": _cursor(selection, found.after),
            "tenants": found.tenants,
        }

    async def groups(self, request: Request) -> object:
        """Return groups of dead letters, as far as one request examines them."""
        selection = selection_of(request)
        place = place_of(request, _identity(selection))
        found = await asyncio.to_thread(self._view.groups, selection, place)
        return {
            "groups": found.groups,
            "letters": found.letters,
            "examined": found.examined,
            "until": found.until,
            "next_cursor": _cursor(selection, found.after),
        }

    async def requeued(self, request: Request) -> object:
        """Return what became of entries that were appended again."""
        entries = entries_of(request, MAX_ENTRIES)
        return {"items": await asyncio.to_thread(self._view.requeued, entries)}

    async def letter(self, request: Request) -> object:
        """Return one dead letter with its content."""
        return await _with_letter(request, self._view.letter)

    async def requeue(self, request: Request, caller: Caller) -> object:
        """Append a dead letter's entry again."""

        async def act(request_id: str) -> Done:
            try:
                entry_id = await _with_letter(request, self._view.requeue)
            except CannotRequeue as error:
                raise BadRequest(parameter="letter", reason=str(error)) from None
            _log("requeue", caller, request, request_id, **_letter(request), entry_id=entry_id)
            return _done_to_one(request, "requeued", {"entry_id": entry_id})

        return await self._on_one(request, caller, "requeue", act)

    async def discard(self, request: Request, caller: Caller) -> object:
        """Delete a dead letter."""

        async def act(request_id: str) -> Done:
            await _with_letter(request, self._view.discard)
            _log("discard", caller, request, request_id, **_letter(request))
            return _done_to_one(request, "discarded", {"discarded": True})

        return await self._on_one(request, caller, "discard", act)

    async def _on_one(
        self, request: Request, caller: Caller, name: str, act: Callable[[str], Any]
    ) -> object:
        _require_letter(request)
        letter = _letter(request)
        action = Action(name, letter["tenant"], {"letter": letter["letter"]})
        return await self._actions.recorded(request, caller, action, act)

    async def requeue_matching(self, request: Request, caller: Caller) -> object:
        """Requeue the next dead letters that match."""
        return await self._on_matching(request, caller, "requeue")

    async def discard_matching(self, request: Request, caller: Caller) -> object:
        """Discard the next dead letters that match."""
        return await self._on_matching(request, caller, "discard")

    async def _on_matching(self, request: Request, caller: Caller, name: LetterAction) -> object:
        selection = selection_of(request)
        if selection.until is None:
            raise BadRequest(parameter="until", reason="is required: `until` of the groups")
        place = place_of(request, _identity(selection))
        limit = number_of(request, "limit", MAX_ACTIONS, MAX_ACTIONS)
        target = {"filters": selection.filters, "after": place, "limit": limit}

        async def act(request_id: str) -> Done:
            step = await asyncio.to_thread(self._view.step, name, selection, place, limit)
            counts = Counter(each["outcome"] for each in step.outcomes)
            _log(name, caller, request, request_id, filters=dict(selection.filters), **counts)
            answer = {
                "request_id": request_id,
                "items": step.outcomes,
                "examined": step.examined,
                "next_cursor": _cursor(selection, step.after),
            }
            details = {"counts": counts, "letters": step.outcomes}
            return Done(answer, _overall(counts), _changed_tenants(step.outcomes), details)

        action = Action(name, selection.tenant, target)
        return await self._actions.recorded(request, caller, action, act)


def _identity(selection: LetterSelection) -> list[object]:
    """Return what a cursor belongs to; `until` and the action do not matter."""
    return ["dead", *selection[:-1]]


def _cursor(selection: LetterSelection, after: str | LetterPlace | None) -> str | None:
    if isinstance(after, LetterPlace):
        return write_cursor(_identity(selection), list(after))
    return after


def _overall(counts: Mapping[str, int]) -> str:
    """Return one word for the outcomes of many letters."""
    return "partly" if "unknown" in counts or "failed" in counts else "done"


def _changed_tenants(outcomes: Sequence[Mapping[str, Any]]) -> list[str]:
    changed = {each["tenant"] for each in outcomes if each["outcome"] in ("requeued", "discarded")}
    return sorted(changed)


def _done_to_one(request: Request, outcome: str, answer: Mapping[str, Any]) -> Done:
    letter = _letter(request)
    facts = {"tenant": letter["tenant"], "id": letter["letter"], "outcome": outcome}
    details = {"counts": {outcome: 1}, "letters": [facts | {"entry_id": answer.get("entry_id")}]}
    return Done(answer, "done", [letter["tenant"]], details)


def _letter(request: Request) -> dict[str, str]:
    return {name: request.path_params[name] for name in ("tenant", "letter")}


def _require_letter(request: Request) -> str:
    """Return the tenant of the letter in the path.

    Raises:
        NoSuchPage: no letter can have such an id.
    """
    tenant = tenant_of(request.path_params["tenant"])
    if tenant is None or not is_entry_id(request.path_params["letter"]):
        raise NoSuchPage
    return tenant


async def _with_letter(request: Request, act: Callable[[str, str], T]) -> T:
    """Return the result of an operation on the dead letter in the path.

    Raises:
        NoSuchPage: the letter does not exist, or does not exist any more.
    """
    tenant = _require_letter(request)
    try:
        result = await asyncio.to_thread(act, tenant, request.path_params["letter"])
    except ValueError:
        raise NoSuchPage from None
    if not result:
        raise NoSuchPage
    return result


def _log(name: str, caller: Caller, request: Request, request_id: str, **fields: Any) -> None:
    """Log an operator's action, without the request's headers."""
    _LOG.info(
        _EVENTS[name],
        by=caller.subject,
        by_tenant=caller.tenant,
        by_address=request.client.host if request.client else None,
        request_id=request_id,
        **fields,
    )

"""The log of operators' actions: who changed what, when, and how it ended.

It is in PostgreSQL. An action is recorded before it is done, and its outcome afterwards; an action
that cannot be recorded is refused. Without a configured database, actions are only in the process's
own log. Nothing of a token is recorded but the claims `sub` and `tenant_id`. Used by
`api.operators.actions.endpoint`, `api.operators.actions.requests`,
`api.operators.letters.endpoints`, `api.operators.routes` and
`api.spec.operations.operator_operation`.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, NamedTuple
from uuid import uuid4

import psycopg
import redis
import structlog
from psycopg import AsyncConnection
from starlette.requests import Request

from api.access.auth import Caller
from api.http.problems import Problem, TryLater
from api.http.responses import json_bytes
from api.operators.database import OperatorDatabase
from sql import queries
from streams.runtime.safe_text import one_line

_LOG = structlog.get_logger(__name__)
_QUERIES = queries("operator_actions")

REQUEST_ID_HEADER = "x-request-id"
"""The header by which a caller names several requests that are one action."""

STATEMENT_MS = 2_000
"""The time limit for one statement, in milliseconds."""
RECORD_SECONDS = 1.5
"""The longest time for recording an action that is then still done: its caller waits."""
ACTOR_LENGTH = 200

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}\Z")


class NotRecorded(TryLater):
    """The action was not done, because it could not be recorded; retry later."""

    problem_type = "not-recorded"


class Action(NamedTuple):
    """An action that is about to be done."""

    name: str
    tenant: str | None
    """The tenant that it is limited to; None for all."""
    target: Mapping[str, Any]
    """A JSON object that identifies what it is done to."""


class Done(NamedTuple):
    """The result of an action."""

    answer: Any
    """The JSON value of the answer."""
    outcome: str
    tenants: Sequence[str]
    """The tenants in which something was changed."""
    details: Mapping[str, Any]
    """A JSON object: what happened to each thing."""


class ActionFilter(NamedTuple):
    """The actions that a list contains; None for any value."""

    actor: str | None = None
    action: str | None = None
    request_id: str | None = None
    tenant: str | None = None


class ActionRow(NamedTuple):
    """A recorded action; the last four are None while it has no outcome."""

    id: int
    at: datetime
    request_id: str
    via: str
    actor: str | None
    actor_tenant: str | None
    address: str | None
    action: str
    tenant: str | None
    target: str
    ended_at: datetime | None
    outcome: str | None
    tenants: Sequence[str] | None
    details: str | None


class ActionLog:
    """Records actions around them, and lists them; for use from one event loop."""

    def __init__(self, database: OperatorDatabase) -> None:
        self._database = database

    async def recorded(
        self,
        request: Request,
        caller: Caller,
        action: Action,
        act: Callable[[str], Awaitable[Done]],
    ) -> Any:
        """Do an action between the two records of it; return its answer.

        Args:
            request: the request for it, from which address and request id are recorded.
            caller: the operator.
            action: the action's description.
            act: does the action; it is called with the request id.

        Raises:
            NotRecorded: the action could not be recorded in time, and was not done.
            Problem, redis.RedisError: as raised by the action.
        """
        request_id = request_id_of(request)
        action_id = await self._begin(request, caller, action, request_id)
        try:
            done = await act(request_id)
        except Problem as problem:
            await self._end(action_id, Done(None, problem.problem_type, [], {}))
            raise
        except redis.RedisError:
            # It may have been done: nothing but the reply may be lost.
            await self._end(action_id, Done(None, "unknown", [], {"missing": "redis"}))
            raise
        await self._end(action_id, done)
        return done.answer

    async def page(
        self, wanted: ActionFilter, before: int, limit: int, *, only_counts: bool = False
    ) -> list[ActionRow]:
        """Return recorded actions with a lower id than `before`, newest first.

        With `only_counts`, `details` are the value of their field `counts`.

        Raises:
            psycopg.Error: the database is away, or has no such tables.
        """
        values = {**wanted._asdict(), "before": before, "limit": limit}
        name = "newest_counts" if only_counts else "newest"
        async with self._transaction() as connection:
            rows = await (await connection.execute(_QUERIES[name], values)).fetchall()
        return [ActionRow(*row) for row in rows]

    async def _begin(
        self, request: Request, caller: Caller, action: Action, request_id: str
    ) -> int | None:
        """Record an action; return its id, or None without a configured database."""
        if not self._database.is_configured:
            return None
        began = time.monotonic()
        try:
            action_id = await self._add(request, caller, action, request_id)
        except psycopg.Error as error:
            _LOG.warning("action_not_recorded", action=action.name, error=one_line(error))
            raise NotRecorded(missing=["postgresql"]) from None
        if time.monotonic() - began > RECORD_SECONDS:
            # The caller may have been answered, and must not find the action done afterwards.
            await self._end(action_id, Done(None, "not-recorded", [], {}))
            raise NotRecorded(missing=["postgresql"])
        return action_id

    async def _add(self, request: Request, caller: Caller, action: Action, request_id: str) -> int:
        values = {
            "request_id": request_id,
            "via": "console",
            "actor": storable(caller.subject),
            "actor_tenant": caller.tenant,
            "address": request.client.host if request.client else None,
            "action": action.name,
            "tenant": action.tenant,
            "target": json_bytes(action.target).decode(),
        }
        async with self._transaction() as connection:
            row = await (await connection.execute(_QUERIES["add"], values)).fetchone()
        return int(row[0]) if row else 0

    async def _end(self, action_id: int | None, done: Done) -> None:
        """Record the outcome. An error is only logged, because the action has ended anyway."""
        if action_id is None:
            return
        details = json_bytes(done.details).decode()
        values = {"id": action_id, "outcome": done.outcome, "details": details}
        try:
            async with self._transaction() as connection:
                await connection.execute(_QUERIES["end"], {**values, "tenants": [*done.tenants]})
        except psycopg.Error as error:
            _LOG.warning("outcome_not_recorded", action_id=action_id, error=one_line(error))

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncConnection[Any]]:
        async with self._database.connection() as connection, connection.transaction():
            await connection.execute(_QUERIES["enter"], {"milliseconds": str(STATEMENT_MS)})
            yield connection


def request_id_of(request: Request) -> str:
    """Return the request's id, which the caller may have chosen."""
    sent = request.headers.get(REQUEST_ID_HEADER, "")
    return sent if _REQUEST_ID.match(sent) else uuid4().hex


def storable(text: str | None) -> str | None:
    """Return a text from a token as PostgreSQL can store it, not longer than `ACTOR_LENGTH`."""
    if text is None:
        return None
    return text.encode(errors="replace").decode().replace("\0", "?")[:ACTOR_LENGTH]

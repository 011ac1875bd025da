"""The operators' endpoint for the issues of the last day: what was wrong, from when, and for whom.

No issue is stored. Those of delivery are derived from the samples in Redis, and those of job types
that failed from the figures by minute in PostgreSQL, which both last for a day. So an issue is
there once, also after a restart and however many processes serve the API. Used by
`api.operators.routes`.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.routing import Route

from api.operators.cached_answer import CachedAnswer
from api.operators.figures.jobs import or_none
from api.operators.gate import Gate
from api.operators.jobs import Connections
from api.operators.operator_view import OperatorView
from projections.reading.all_tenants import failing

Json = dict[str, Any]

SPAN = timedelta(days=1)
CACHED_SECONDS = 20.0
"""Seconds for which an answer is kept at least."""
MAX_ISSUES = 200
"""The most issues of an answer: those that go on, and those that began last."""

_OF_DELIVERY = ("cause", "begin", "end", "group", "worst", "tenants", "tenant")
_OF_JOBS = ("kind", "job_type", "code", "failed", "ended")


class OperatorIssueEndpoint:
    """The endpoint for issues.

    Args:
        connections: lends connections to PostgreSQL.
        view: reads what Redis knows of delivery.
    """

    def __init__(self, connections: Connections, view: OperatorView) -> None:
        self._connections = connections
        self._view = view
        self._answer = CachedAnswer(self._read, CACHED_SECONDS, _is_partial)

    def routes(self, gate: Gate, url: str) -> list[Route]:
        """Return the route below a URL, for operators only."""
        return [gate.read_route(f"{url}/issues/", self.issues)]

    async def issues(self, _request: Request) -> object:
        """Return the issues of the last day, those that began last first."""
        return await self._answer.get()

    async def _read(self) -> Json:
        until = time.time()
        since = datetime.fromtimestamp(until, UTC) - SPAN
        delivery, jobs = await asyncio.gather(
            or_none(asyncio.to_thread(self._view.issues)), or_none(self._failing(since))
        )
        parts = {"redis": delivery, "postgresql": jobs}
        found = [*(delivery or ()), *(jobs or ())]
        found.sort(key=lambda issue: (issue["end"] is not None, -int(issue["begin"])))
        kept = sorted(found[:MAX_ISSUES], key=lambda issue: -int(issue["begin"]))
        none = dict.fromkeys([*_OF_DELIVERY, *_OF_JOBS])
        return {
            "since": int(since.timestamp() * 1000),
            "until": int(until * 1000),
            "issues": [none | {**issue} for issue in kept],
            "more": len(found) > MAX_ISSUES,
            "missing": [server for server, part in parts.items() if part is None],
        }

    async def _failing(self, since: datetime) -> list[Json]:
        async with self._connections() as connection:
            return await failing.read_failing(connection, since, time.time_ns() // 1_000_000)


def _is_partial(answer: Json) -> bool:
    return bool(answer["missing"])

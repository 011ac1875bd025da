"""The operators' endpoints for figures and charts: all tenants' jobs, and delivery over time.

Each method returns the JSON value of an answer, which all open consoles share for some seconds.
Used by `api.operators.figures.issues`, `api.operators.figures.tenants`, `api.operators.routes` and
`api.spec.operations.figures`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import psycopg
import redis
from starlette.requests import Request
from starlette.routing import Route

from api.http.problems import BadRequest
from api.operators.cached_answer import CachedAnswer
from api.operators.gate import Gate
from api.operators.jobs import STALLED_AFTER_SECONDS, Connections
from api.operators.letters.view import Facts
from api.operators.operator_view import OperatorView
from api.scheduling.bounded_wait import wait_shielded
from projections.reading.all_tenants import figures

T = TypeVar("T")
Json = dict[str, Any]

CACHED_SECONDS = 4.0
"""Seconds for which an answer is kept at least; the console asks every 5 s."""

PART_SECONDS = 6.0
"""The time limit for each part of an answer; a part that takes longer is null."""

SLOWEST = 10
"""The running jobs that are listed."""

HOUR_SECONDS = 3_600

SPANS = {"15m": (900, 60), "1h": (3_600, 60), "6h": (21_600, 300), "24h": (86_400, 900)}
"""The spans of charts: their seconds, and the seconds of one step of the jobs' series."""


class OperatorFigureEndpoints:
    """The endpoints for figures.

    Args:
        connections: lends connections to PostgreSQL.
        view: reads what Redis knows of delivery.
        stalled_after_seconds: the time without events after which a job counts as stalled; None for
            `STALLED_AFTER_SECONDS`.
    """

    def __init__(
        self,
        connections: Connections,
        view: OperatorView,
        *,
        stalled_after_seconds: int | None = None,
    ) -> None:
        self._connections = connections
        self._view = view
        self._stalled_after = stalled_after_seconds or STALLED_AFTER_SECONDS
        self._figures = CachedAnswer(self._read_figures, CACHED_SECONDS)
        self._charts = {
            span: CachedAnswer(partial(self._read_charts, span), CACHED_SECONDS, _is_partial)
            for span in SPANS
        }

    def routes(self, gate: Gate, url: str) -> list[Route]:
        """Return the routes below a URL, for operators only."""
        return [
            gate.read_route(f"{url}/figures/", self.figures),
            gate.read_route(f"{url}/charts/", self.charts),
        ]

    async def figures(self, _request: Request) -> object:
        """Return the figures of all jobs: now, over the last hour, and by type."""
        return await self._figures.get()

    async def charts(self, request: Request) -> object:
        """Return the series of the jobs and of the groups over a span of time."""
        span = request.query_params.get("span") or "1h"
        if span not in SPANS:
            raise BadRequest(parameter="span")
        return await self._charts[span].get()

    async def _read_figures(self) -> Json:
        since = datetime.now(UTC) - timedelta(seconds=HOUR_SECONDS)
        now_ms = time.time_ns() // 1_000_000
        before_ms = now_ms - self._stalled_after * 1000
        async with self._connections() as connection:
            found = await figures.read_figures(connection, since)
            running = await figures.read_running(
                connection, before_ms, before_ms - HOUR_SECONDS * 1000, SLOWEST
            )
        return {
            "since": int(since.timestamp() * 1000),
            **found,
            "stalled": {
                "count": running.stalled,
                "lately": running.stalled_lately,
                "more": running.examined >= figures.MAX_EXAMINED,
                "after_seconds": self._stalled_after,
            },
            "slowest": running.slowest,
        }

    async def _read_charts(self, span: str) -> Json:
        seconds, step = SPANS[span]
        until = time.time()
        since = (until - seconds) // step * step
        samples = self._view.samples if seconds <= HOUR_SECONDS else self._view.day_samples
        jobs, delivery = await asyncio.gather(
            or_none(self._series(since, until, step)), or_none(asyncio.to_thread(samples))
        )
        return {
            "since": int(since * 1000),
            "until": int(until * 1000),
            "step_seconds": step,
            "jobs": jobs,
            "delivery": delivery and _since(delivery, int(since * 1000)),
        }

    async def _series(self, since: float, until: float, step: int) -> Json:
        """Return columns with a value for each step that is over.

        There is one of each figure, and one (`most`) with the figure's highest minute of a step.
        """
        async with self._connections() as connection:
            rows = await figures.read_series(connection, datetime.fromtimestamp(since, UTC), step)
        end = int(until - step) * 1000
        at = range(int(since) * 1000, end + 1, step * 1000)
        names = ("created", *figures.ENDS)
        columns, most = ({name: dict.fromkeys(at, 0) for name in names} for _ in range(2))
        for ms, figure, n, highest in rows:
            if ms in columns[figure]:
                columns[figure][ms], most[figure][ms] = n, highest
        return {
            "at": list(at),
            **{name: list(each.values()) for name, each in columns.items()},
            "most": {name: list(each.values()) for name, each in most.items()},
        }


def _is_partial(charts: Json) -> bool:
    return charts["jobs"] is None or charts["delivery"] is None


def _since(delivery: Facts, ms: int) -> Json:
    """Return the part of samples and marks since a time, in milliseconds since 1970."""
    at: Sequence[int] = delivery["at"]
    first = next((number for number, each in enumerate(at) if each >= ms), len(at))
    groups = {
        name: {column: values[first:] for column, values in group.items()}
        for name, group in delivery["groups"].items()
    }
    marks = [mark for mark in delivery["marks"] if mark["at"] >= ms]
    return {"at": at[first:], "groups": groups, "marks": marks}


async def or_none(work: Awaitable[T]) -> T | None:
    """Return a part of an answer; None if its server does not answer in time."""
    try:
        return await wait_shielded(work, PART_SECONDS)
    except (redis.RedisError, psycopg.Error, TimeoutError):
        return None

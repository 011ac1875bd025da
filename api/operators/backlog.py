"""The backlog of each group in this process's metrics, measured when they are scraped.

A deployment can scale consumers from zero by these figures, because no consumer measures them. A
measurement scans all streams, so that one is made once in a while at most, in a thread. Used by
`api.monitoring`.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import redis
import structlog

from api.operators.operator_view import OperatorView
from api.scheduling.bounded_wait import wait_shielded

_LOG = structlog.get_logger(__name__)

SCRAPE_SECONDS = 2.0
"""The longest time that a scrape waits for a measurement, which goes on without it."""

INTERVAL_SECONDS = 4.0
SHARE = 30
"""The least pause between two measurements: `INTERVAL_SECONDS`, or `SHARE` times the last one."""

KEEP_SECONDS = 60.0
"""Seconds after the next measurement is due at which figures are no longer exposed."""


class BacklogFigures:
    """Measures the backlog for scrapes; for use from one event loop."""

    def __init__(self, view: OperatorView) -> None:
        self._view = view
        self._due = float("-inf")
        self._keep = KEEP_SECONDS
        self._task: asyncio.Task[None] | None = None

    async def refresh(self) -> None:
        """Measure again if that is due; return once that is done, or takes too long."""
        if self._task is None and time.monotonic() >= self._due:
            self._task = asyncio.create_task(self._measure())
        if self._task is not None:
            with suppress(TimeoutError):
                await wait_shielded(self._task, SCRAPE_SECONDS)

    async def _measure(self) -> None:
        began = time.monotonic()
        try:
            await asyncio.to_thread(self._view.publish_backlog, self._keep)
        except redis.exceptions.NoPermissionError as error:
            # A Redis user that serves tenants only, such as `jobtrail-api`: others measure.
            _LOG.info("backlog_not_measured", error=str(error))
            self._due = float("inf")
        except redis.RedisError as error:
            _LOG.info("backlog_not_measured", error=str(error))
        finally:
            now = time.monotonic()
            pause = max(INTERVAL_SECONDS, SHARE * (now - began))
            self._due, self._keep = max(self._due, now + pause), pause + KEEP_SECONDS
            self._task = None

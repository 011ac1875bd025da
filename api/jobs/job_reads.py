"""Reads of stored jobs: from a replica if one is configured, otherwise from the primary.

A read that the replica cannot serve is served by the primary: the replica is unavailable, lacks
a migration, cancelled the read repeatedly, or had no connection free in time. The primary's small
pool bounds what it gets. While the replica is away, no read tries it: a check begins `AWAY_SECONDS`
after a failure, and reads use the replica again once one has succeeded.

Used by `api.jobs.endpoint`, and by `api.monitoring` for the readiness check, and also by `api.app`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TypeVar

import structlog

from api.http.problems import TryLater
from api.jobs.database import CONFLICT, FAILURES, REFUSED, Database, Read
from api.metrics import watch_postgres_pools
from api.scheduling.fair_semaphore import NotAdmitted
from projections.reading.jobs import PipelinedRead
from streams.runtime.safe_text import one_line
from streams.settings import Settings

T = TypeVar("T")

_LOG = structlog.get_logger(__name__)

AWAY_SECONDS = 2.0
"""Seconds for which a replica that failed is not used, and between two checks of it."""


class JobReads:
    """Runs reads, each as one tenant; for use from one event loop.

    Args:
        primary: the primary.
        replica: its replica, if there is one.
    """

    def __init__(self, primary: Database, replica: Database | None = None) -> None:
        self._primary = primary
        self._replica = replica
        self._is_away = False
        self._check_at = float("-inf")
        """When the replica is checked again, on the monotonic clock."""
        self._check: asyncio.Task[None] | None = None
        databases = {"postgres": primary, **({"replica": replica} if replica else {})}
        watch_postgres_pools(
            {name: pool for name, each in databases.items() if (pool := each.watched) is not None}
        )

    @classmethod
    def from_settings(cls, settings: Settings) -> JobReads:
        """Return an instance with the URLs and the limits from the settings.

        Raises:
            SettingsError: the replica's URL is not valid.
        """
        size, seconds = settings.api_pool_size, settings.api_statement_timeout_seconds
        primary = Database(settings.database_url, pool_size=size, statement_seconds=seconds)
        url = settings.checked_read_url()
        if url is None:
            return cls(primary)
        replica = Database(url, pool_size=size, statement_seconds=seconds, replica=True)
        return cls(primary, replica)

    def log_if_off(self) -> None:
        """Log a warning if no primary is configured."""
        self._primary.log_if_off()

    async def read(self, tenant: str, work: PipelinedRead[T], *, fresh: bool = False) -> Read[T]:
        """Return the result of a read, in which only the tenant's rows exist.

        Args:
            tenant: the tenant.
            work: the read.
            fresh: whether the primary must serve it.

        Raises:
            TryLater: no server can serve it now.
        """
        replica = self._replica
        if replica is None or fresh or self._away(replica):
            return await self._primary.read(tenant, work)
        try:
            return await replica.attempt(tenant, work)
        except REFUSED as error:
            replica.warn(error)
            raise TryLater from None
        except FAILURES as error:
            _LOG.info("replica_not_used", error=one_line(error))
            if not isinstance(error, (CONFLICT, NotAdmitted)):
                self._is_away, self._check_at = True, time.monotonic() + AWAY_SECONDS
        return await self._primary.read(tenant, work)

    async def states(self) -> Mapping[str, str]:
        """Return the states for `/readyz`: of `database`, and of `replica` if there is one.

        A state is `ok`, `away`, or `none` where no database is configured.
        """
        if self._replica is None:
            return {"database": await self._primary.state()}
        database, replica = await asyncio.gather(self._primary.state(), self._replica.state())
        return {"database": database, "replica": "away" if self._is_away else replica}

    async def close(self) -> None:
        """Close all connections."""
        if self._check is not None:
            await asyncio.wait({self._check})
        for database in (self._replica, self._primary):
            if database is not None:
                await database.close()

    def _away(self, replica: Database) -> bool:
        """Return whether the replica is not to be used, and check it again when that is due."""
        if self._is_away and time.monotonic() >= self._check_at:
            self._check_at = time.monotonic() + AWAY_SECONDS
            self._check = asyncio.create_task(self._check_again(replica))
        return self._is_away

    async def _check_again(self, replica: Database) -> None:
        self._is_away = await replica.state() != "ok"

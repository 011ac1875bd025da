"""The operators' connections to PostgreSQL: two at most, separate from those of tenants' reads.

An operator's search may take seconds and must not delay tenants. Reads take the role `jobtrail_ops`
for one transaction (`projections.reading.all_tenants`). Used by `operators.jobs`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg

from sql import sessions
from sql.sessions import AsyncSession, Pool

CONNECTIONS = 2
WAITING = 32
"""The most requests that wait for a connection."""

WAIT_SECONDS = 2.0
"""The time limit for getting a connection."""

USE_SECONDS = 4.0
"""The time limit for using a connection, including the wait for it; after it, the connection is
closed."""

CHECK_SECONDS = 1.0
"""The time limit for the check of a connection before its use."""

CONNECT_SECONDS = 2
CLOSE_SECONDS = 1.0
RECONNECT_SECONDS = 2.0
"""The time for which the pool retries by itself to connect."""


class OperatorDatabase:
    """Lends connections; for use from one event loop. The first use connects.

    Args:
        url: the database's URL; None if no database is set.
    """

    def __init__(self, url: str | None) -> None:
        self._pool = None if url is None else _pool(url)
        self._opening = asyncio.Lock()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncSession]:
        """Yield a connection, for `USE_SECONDS` at most.

        Raises:
            psycopg.Error: no database is set, it is unavailable, or no connection became free.
        """
        if self._pool is None:
            raise psycopg.OperationalError("JOBTRAIL_DATABASE_URL is not set")
        async with self._opening:
            await self._pool.open()
        deadline = time.monotonic() + USE_SECONDS
        async with self._pool.connection() as connection:
            connection.limit(deadline - time.monotonic())
            yield connection

    async def close(self) -> None:
        """Close all connections."""
        if self._pool is not None:
            await self._pool.close(CLOSE_SECONDS)


async def _check(connection: AsyncSession) -> None:
    connection.limit(CHECK_SECONDS)
    await Pool.check_connection(connection)


def _pool(url: str) -> Pool:
    return sessions.pool(
        url,
        "jobtrail-console",
        connect_seconds=CONNECT_SECONDS,
        min_size=0,
        max_size=CONNECTIONS,
        # So that the first request after a restart of the server does not fail.
        check=_check,
        timeout=WAIT_SECONDS,
        max_waiting=WAITING,
        reconnect_timeout=RECONNECT_SECONDS,
        num_workers=1,
    )

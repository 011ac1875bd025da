"""Operators' connections to PostgreSQL: two at most, apart from those of tenants' reads.

An operator's search may take seconds; it must not stand in a tenant's way. What is read over them
enters the role `jobtrail_ops` for one transaction (`projections/reading/all_tenants.py`).
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
WAIT_SECONDS = 2.0
LEND_SECONDS = 4.0
"""The time a request may use a connection, including the wait for it; then it is closed."""
CHECK_SECONDS = 1.0
CONNECT_SECONDS = 2
CLOSE_SECONDS = 1.0
WAITING = 32
RECONNECT_SECONDS = 2.0


class OpsDatabase:
    """Lends connections; use it from one event loop. Nothing is connected before it is needed."""

    def __init__(self, url: str | None) -> None:
        self._pool = None if url is None else _pool(url)
        self._opening = asyncio.Lock()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncSession]:
        """Lend one; what it is asked must be answered in `LEND_SECONDS`.

        Raises:
            psycopg.Error: no database is named, it is away, or all connections are long taken.
        """
        if self._pool is None:
            raise psycopg.OperationalError("JOBTRAIL_DATABASE_URL is not set")
        async with self._opening:
            await self._pool.open()
        deadline = time.monotonic() + LEND_SECONDS
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
        # A restart of the server must not show as an error of the first question after it.
        check=_check,
        timeout=WAIT_SECONDS,
        max_waiting=WAITING,
        reconnect_timeout=RECONNECT_SECONDS,
        num_workers=1,
    )

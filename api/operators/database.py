"""The operators' connections to PostgreSQL: two at most, separate from those of tenants' reads.

An operator's search may take seconds and must not delay tenants. This module only lends
connections; `projections.reading.all_tenants` and `api.operators.actions.log` switch to the
database role `jobtrail_ops` in each transaction. In PostgreSQL's list of sessions the application's
name is `jobtrail-console`. Used by `api.app`, `api.operators.jobs` and `api.operators.actions.log`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg

from sql import sessions
from sql.sessions import AsyncSession, Pool

MAX_CONNECTIONS = 2
MAX_WAITING = 32
"""The most requests that wait for a connection; further ones fail at once."""

WAIT_SECONDS = 2.0
"""The time limit for getting a connection."""

USE_SECONDS = 4.0
"""The time limit for getting and using a connection. When it has passed, the connection closes
itself, the statement that is running raises psycopg.OperationalError, and the caller gets a 503."""

CHECK_SECONDS = 1.0
"""The time limit for the check of a connection before its use."""

CONNECT_SECONDS = 2
"""The time limit for opening a connection."""

CLOSE_SECONDS = 1.0
"""The time limit for closing the pool."""

RECONNECT_SECONDS = 2.0
"""The time for which the pool itself retries to connect; afterwards, a request starts a new try."""


class OperatorDatabase:
    """Lends connections; for use from one event loop. The first use connects.

    Args:
        url: the database's URL; None if no database is configured.
    """

    def __init__(self, url: str | None) -> None:
        self._pool = None if url is None else _pool(url)
        self._opening = asyncio.Lock()
        """Held while the pool is opened, so that two first uses do not open it twice."""

    @property
    def is_configured(self) -> bool:
        """False if there is no database to connect to."""
        return self._pool is not None

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncSession]:
        """Yield a connection, for `USE_SECONDS` at most.

        Raises:
            psycopg.OperationalError: no database is configured, it is unavailable, or no connection
                became free in `WAIT_SECONDS`.
        """
        if self._pool is None:
            raise psycopg.OperationalError("JOBTRAIL_DATABASE_URL is not set")
        async with self._opening:
            await self._pool.open()
        deadline = time.monotonic() + USE_SECONDS
        async with self._pool.connection() as connection:
            # Replaces the limit that `_check` has set.
            connection.limit(deadline - time.monotonic())
            yield connection

    async def close(self) -> None:
        """Close all connections."""
        if self._pool is not None:
            await self._pool.close(CLOSE_SECONDS)


async def _check(connection: AsyncSession) -> None:
    """Raise psycopg.OperationalError if a connection of the pool does not work any more."""
    connection.limit(CHECK_SECONDS)
    await Pool.check_connection(connection)


def _pool(url: str) -> Pool:
    return sessions.pool(
        url,
        "jobtrail-console",
        connect_seconds=CONNECT_SECONDS,
        min_size=0,
        max_size=MAX_CONNECTIONS,
        # So that the first request after a restart of PostgreSQL does not fail.
        check=_check,
        timeout=WAIT_SECONDS,
        max_waiting=MAX_WAITING,
        reconnect_timeout=RECONNECT_SECONDS,
        num_workers=1,
    )

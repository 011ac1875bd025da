"""The operators' connections to PostgreSQL: two at most, separate from those of tenants' reads.

An operator's search may take seconds and must not delay tenants. A page of the console sends
several requests at once, which take turns: each waits for a connection as long as its answer may
take, so that a slow server makes a page slow, but does not make it fail. This module only lends
connections; `projections.reading.all_tenants` and `api.operators.actions.log` switch to the
database role `jobtrail_ops` in each transaction. In PostgreSQL's list of sessions the application's
name is `jobtrail-console`. Used by `api.app`, `api.operators.actions.log` and
`api.operators.routes`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import psycopg
from psycopg_pool import PoolTimeout, TooManyRequests

from sql import sessions
from sql.sessions import AsyncSession, Pool

MAX_CONNECTIONS = 2
MAX_WAITING = 32
"""The most requests that wait for their turn; further ones fail at once."""

TOTAL_SECONDS = 8.0
"""The time limit for waiting for a turn and using a connection."""

USE_SECONDS = 4.0
"""The time limit for using a connection. When it or `TOTAL_SECONDS` has passed, the connection
closes itself, the statement that is running raises psycopg.OperationalError, and the caller gets
a 503."""

OPEN_SECONDS = 3.0
"""The time limit for opening a connection, or for checking an open one, once it is a caller's turn.
A server that is away is noticed in this time."""

CHECK_SECONDS = 1.0
"""The time limit for the check of a connection before its use."""

CONNECT_SECONDS = 2
"""The time limit for connecting, and again for setting the connection up."""

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
        self._turns = asyncio.Semaphore(MAX_CONNECTIONS)
        self._waiting = 0
        self._away_at = float("-inf")
        """When it was last impossible to open a connection."""

    @property
    def is_configured(self) -> bool:
        """False if there is no database to connect to."""
        return self._pool is not None

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncSession]:
        """Yield a connection, for `USE_SECONDS` at most.

        Raises:
            psycopg.OperationalError: no database is configured, it is unavailable, or no connection
                became free in `TOTAL_SECONDS`.
        """
        if self._pool is None:
            raise psycopg.OperationalError("JOBTRAIL_DATABASE_URL is not set")
        async with self._opening:
            await self._pool.open()
        deadline = time.monotonic() + TOTAL_SECONDS
        async with self._turn(), AsyncExitStack() as stack:
            seconds = min(OPEN_SECONDS, deadline - time.monotonic())
            try:
                connection = await stack.enter_async_context(self._pool.connection(seconds))
            except PoolTimeout:
                # A caller whose turn came late had too little time to tell.
                if seconds >= OPEN_SECONDS:
                    self._away_at = time.monotonic()
                raise
            # Replaces the limit that `_check` has set.
            connection.limit(min(USE_SECONDS, deadline - time.monotonic()))
            yield connection

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Hold one of the turns, after waiting for at most `TOTAL_SECONDS`.

        Raises:
            PoolTimeout: no turn came in that time, or the server turned out to be away meanwhile.
            TooManyRequests: too many callers wait already.
        """
        if self._waiting >= MAX_WAITING:
            raise TooManyRequests(f"{self._waiting} requests wait for a connection already")
        began, self._waiting = time.monotonic(), self._waiting + 1
        try:
            async with asyncio.timeout(TOTAL_SECONDS):
                await self._turns.acquire()
        except TimeoutError:
            raise PoolTimeout(f"no connection became free in {TOTAL_SECONDS:g} s") from None
        finally:
            self._waiting -= 1
        try:
            if self._away_at > began:  # otherwise, all that wait would try it one after the other
                raise PoolTimeout("the server is away")
            yield
        finally:
            self._turns.release()

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
        timeout=OPEN_SECONDS,
        reconnect_timeout=RECONNECT_SECONDS,
        # So that the connections of a first page are not opened one after the other.
        num_workers=MAX_CONNECTIONS,
    )

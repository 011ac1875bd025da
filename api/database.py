"""The API's way to PostgreSQL: a few pooled connections, opened when the first durable read asks.

Every read is one transaction of its own, read only, in which row-level security shows one tenant. A
connection that the policies do not bind (a superuser's, say) is never read from.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TypeVar

import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool, PoolTimeout, TooManyRequests

from api.metrics import watch_postgres_pool
from api.problems import TryLater
from projections.job_reader import Connection, Reading
from sql import queries
from streams.settings import Settings

T = TypeVar("T")

_LOG = structlog.get_logger(__name__)
_QUERIES = queries("reading")

WAIT_SECONDS = 2.0
"""How long a request waits for a connection."""

WAITING_PER_CONNECTION = 64
"""Requests that may wait for one; those beyond are told at once to come later."""

RECONNECT_SECONDS = 2.0
"""For how long the pool tries by itself to connect; after that a request makes it try again."""

ANSWER_SECONDS = 0.3
"""How long the database may take to answer whether it is there."""

WARNING_INTERVAL = 5.0
"""Seconds between two warnings: every request meets the same outage."""


_ADVICE = (
    "run jobtrail migrate, and give the API a login that is no superuser, without BYPASSRLS, that "
    "may SET ROLE jobtrail_api"
)
_EVENTS: dict[type[Exception], str] = {
    psycopg.errors.QueryCanceled: "database_read_timed_out",
    PoolTimeout: "database_connection_not_had",
    TooManyRequests: "database_connections_taken",
}


class PoliciesDoNotBind(Exception):
    """Give the API another login, or let it become jobtrail_api: this one sees all tenants."""


class Database:
    """Runs readings; use it from one event loop. Without a URL every read is refused."""

    def __init__(self, url: str | None, *, pool_size: int, statement_seconds: float) -> None:
        self._statement_ms = round(statement_seconds * 1_000)
        self._pool_size = pool_size
        self._pool = None if url is None else self._make_pool(url)
        if self._pool is not None:
            watch_postgres_pool(self._pool)
        self._opening = asyncio.Lock()
        self._next_warning = float("-inf")

    def announce(self) -> None:
        """Say at the start that durable reads are off, where no database is named."""
        if self._pool is None:
            _LOG.warning("durable_reads_off", advice="set JOBTRAIL_DATABASE_URL")

    @classmethod
    def from_settings(cls, settings: Settings) -> Database:
        """Make it as the settings say; nothing is connected yet."""
        return cls(
            settings.database_url,
            pool_size=settings.api_pool_size,
            statement_seconds=settings.api_statement_timeout_seconds,
        )

    async def read(self, tenant: str, reading: Reading[T]) -> T:
        """Read as a tenant; the rows of others do not exist in there.

        Connections that died since they were last used are passed over: a read can be repeated.

        Raises:
            TryLater: no database is named, it is away or refuses, or the read took too long.
        """
        if self._pool is None:
            raise TryLater
        try:
            await self._open(self._pool)
            return await self._read(self._pool, tenant, reading)
        except (psycopg.Error, OSError) as error:
            self._say(_EVENTS.get(type(error), "database_unavailable"), error)
            raise TryLater from None

    async def state(self) -> str:
        """Say whether it can be read: `ok`, `away`, or `none` where no database is named."""
        if self._pool is None:
            return "none"
        with suppress(psycopg.Error, OSError, TimeoutError):
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._open(self._pool)
                async with self._pool.connection(ANSWER_SECONDS) as connection:
                    await connection.execute(_QUERIES["alive"])
            return "ok"
        return "away"

    async def close(self) -> None:
        """Close all connections."""
        if self._pool is not None:
            await self._pool.close()

    def _make_pool(self, url: str) -> AsyncConnectionPool[Connection]:
        return AsyncConnectionPool(
            url,
            kwargs={
                "autocommit": True,  # transactions are begun and ended by what they are
                "application_name": "jobtrail-api",
                "connect_timeout": 5,
                # A prepared statement keeps a plan that suits other tenants and other filters.
                "prepare_threshold": None,
            },
            min_size=0,
            max_size=self._pool_size,
            open=False,
            configure=self._configure,
            name="jobtrail-api",
            timeout=WAIT_SECONDS,
            max_waiting=self._pool_size * WAITING_PER_CONNECTION,
            reconnect_timeout=RECONNECT_SECONDS,
            num_workers=1,
        )

    async def _open(self, pool: AsyncConnectionPool[Connection]) -> None:
        async with self._opening:
            await pool.open()

    async def _configure(self, connection: Connection) -> None:
        """Set a new connection up, or refuse it."""
        await connection.execute(_QUERIES["session"], {"timeout_ms": self._statement_ms})
        await connection.execute(_QUERIES["become_reader"])
        try:
            cursor = await connection.execute(_QUERIES["bound_by_policies"])
        except psycopg.errors.UndefinedTable as error:
            self._say("durable_reads_refused", error, advice="run: jobtrail migrate")
            raise
        role, bound = await cursor.fetchone() or ("nobody", False)
        if not bound:
            refused = PoliciesDoNotBind(f"row-level security does not bind the role {role}")
            self._say("durable_reads_refused", refused, advice=_ADVICE)
            raise refused

    async def _read(
        self, pool: AsyncConnectionPool[Connection], tenant: str, reading: Reading[T]
    ) -> T:
        for _ in range(self._pool_size):
            async with pool.connection() as connection:
                try:
                    return await _transaction(connection, tenant, reading)
                except psycopg.OperationalError:
                    if not connection.closed:
                        raise
        async with pool.connection() as connection:
            return await _transaction(connection, tenant, reading)

    def _say(self, event: str, error: Exception, **more: str) -> None:
        """Log what hinders all reads alike, now and then."""
        now = time.monotonic()
        if now >= self._next_warning:
            self._next_warning = now + WARNING_INTERVAL
            _LOG.warning(event, error=" ".join(str(error).split()), **more)


async def _transaction(connection: Connection, tenant: str, reading: Reading[T]) -> T:
    """Read in one transaction, whose statements and end travel together as far as they can."""
    async with connection.pipeline():
        await connection.execute(_QUERIES["begin"])
        await connection.execute(_QUERIES["as_tenant"], {"tenant": tenant})
        fetch = await reading(connection)
        await connection.execute(_QUERIES["commit"])
    return await fetch()

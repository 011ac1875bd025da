"""The API's way to PostgreSQL: a few pooled connections, opened when the first durable read asks.

Every read is one transaction of its own, read only, in which row-level security shows one tenant.
Its role and settings end with it: behind PgBouncer the connection may be another client's next. A
connection that the policies do not bind (a superuser's, say) is never read from.

A read has a deadline of ours, as the server's own limits are frozen with the server: a connection
that has not answered by then is closed, and the pool opens another one. Tenants share the
connections (`api/scheduling/connection_turns.py`).
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TypeVar

import psycopg
import structlog
from psycopg_pool import PoolTimeout, TooManyRequests

from api.http.problems import TryLater
from api.metrics import watch_postgres_pool
from api.scheduling.bounded_wait import within
from api.scheduling.connection_turns import Turns
from projections.reading.jobs import Reading
from sql import queries, sessions
from sql.deadlines import Unanswered
from sql.sessions import AsyncSession, Pool
from streams.settings import Settings

T = TypeVar("T")

_LOG = structlog.get_logger(__name__)
_QUERIES = queries("reading")

WAIT_SECONDS = 2.0
"""How long a request waits for a connection."""

WAITING_PER_CONNECTION = 64
"""Requests of one tenant that may wait for each; those beyond are refused at once."""

MARGIN_SECONDS = 0.5
"""The time, in seconds, that a whole read may take beyond that of one statement."""

CONNECT_SECONDS = 2
"""The time limit, in seconds, for connecting, and again for setting the connection up."""

RECONNECT_SECONDS = 2.0
"""For how long the pool tries by itself to connect; after that a request makes it try again."""

CLOSE_SECONDS = 1.0
"""The time limit, in seconds, for closing connections that are still being made."""

ANSWER_SECONDS = 0.5
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
    Unanswered: "database_did_not_answer",
}


class PoliciesDoNotBind(Exception):
    """Give the API another login, or let it become jobtrail_api: this one sees all tenants."""


class Database:
    """Runs readings; use it from one event loop. Without a URL every read is refused."""

    def __init__(self, url: str | None, *, pool_size: int, statement_seconds: float) -> None:
        self._reader = {"timeout_ms": round(statement_seconds * 1_000), "tenant": ""}
        self._read_seconds = statement_seconds + MARGIN_SECONDS
        self._pool_size = pool_size
        self._turns = Turns(pool_size, most_waiting=pool_size * WAITING_PER_CONNECTION)
        self._pool = None if url is None else self._make_pool(url)
        self._probe: asyncio.Task[bool] | None = None
        if self._pool is not None:
            watch_postgres_pool(self._pool, lambda: self._turns.waiting)
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
        deadline = time.monotonic() + self._read_seconds
        try:
            await self._open(self._pool)
            async with self._turns.turn(tenant, min(WAIT_SECONDS, self._read_seconds)):
                return await self._read(self._pool, tenant, reading, deadline)
        except (psycopg.Error, OSError) as error:
            self._say(_EVENTS.get(type(error), "database_unavailable"), error)
            raise TryLater from None

    async def state(self) -> str:
        """Say whether it can be read: `ok`, `away`, or `none` where no database is named."""
        if self._pool is None:
            return "none"
        if self._probe is None or self._probe.done():
            self._probe = asyncio.create_task(self._answers(self._pool))
        with suppress(TimeoutError):
            return "ok" if await within(ANSWER_SECONDS, self._probe) else "away"
        return "away"

    async def _answers(self, pool: Pool) -> bool:
        with suppress(psycopg.Error, OSError):
            await self._open(pool)
            async with (
                self._turns.turn(None, ANSWER_SECONDS),
                pool.connection(ANSWER_SECONDS) as connection,
            ):
                connection.limit(ANSWER_SECONDS)
                await connection.execute(_QUERIES["alive"])
            return True
        return False

    async def close(self) -> None:
        """Close all connections."""
        if self._pool is not None:
            if self._probe is not None:
                await asyncio.wait({self._probe})
            await self._pool.close(CLOSE_SECONDS)

    def _make_pool(self, url: str) -> Pool:
        return sessions.pool(
            url,
            "jobtrail-api",
            configure=self._configure,
            connect_seconds=CONNECT_SECONDS,
            min_size=0,
            max_size=self._pool_size,
            timeout=WAIT_SECONDS,
            reconnect_timeout=RECONNECT_SECONDS,
            num_workers=1,
        )

    async def _open(self, pool: Pool) -> None:
        async with self._opening:
            await pool.open()

    async def _configure(self, connection: AsyncSession) -> None:
        """Refuse a new connection that the policies do not bind."""
        try:
            async with connection.transaction():
                await connection.execute(_QUERIES["become_reader"], self._reader)
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
        self,
        pool: Pool,
        tenant: str,
        reading: Reading[T],
        deadline: float,
    ) -> T:
        for tries_left in reversed(range(self._pool_size + 1)):
            left = deadline - time.monotonic()
            async with pool.connection(min(WAIT_SECONDS, left)) as connection:
                connection.limit(deadline - time.monotonic())
                try:
                    return await self._transaction(connection, tenant, reading)
                except psycopg.OperationalError as error:
                    if not connection.closed or not tries_left or isinstance(error, Unanswered):
                        raise
        raise AssertionError("the last try returns or raises")

    async def _transaction(self, connection: AsyncSession, tenant: str, reading: Reading[T]) -> T:
        """Read in one transaction, whose statements and end travel together where they can."""
        async with connection.pipeline():
            await connection.execute(_QUERIES["begin"])
            await connection.execute(connection.local_settings)
            await connection.execute(_QUERIES["become_reader"], {**self._reader, "tenant": tenant})
            fetch = await reading(connection)
            await connection.execute(_QUERIES["commit"])
        return await fetch()

    def _say(self, event: str, error: Exception, **more: str) -> None:
        """Log what hinders all reads alike, now and then."""
        now = time.monotonic()
        if now >= self._next_warning:
            self._next_warning = now + WARNING_INTERVAL
            _LOG.warning(event, error=" ".join(str(error).split()), **more)

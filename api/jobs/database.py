"""Reads of one tenant's rows in PostgreSQL, on the connections of a small pool.

Used by `api.jobs.job_reads`, which has a `Database` for the primary and one for a replica.

Every read is one read-only transaction, in which row-level security admits the rows of one tenant.
The role and the settings end with the transaction, because behind PgBouncer the connection may
serve another client next. A connection to which row-level security does not apply, such as a
superuser's, is never used.

Every read has a deadline of this process, because a frozen server does not enforce its own. A
connection without an answer by then is closed and replaced. Tenants share the connections fairly
(`api.scheduling.fair_semaphore`). The first read connects; nothing connects before.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, NamedTuple, TypeVar

import psycopg
import structlog
from psycopg_pool import PoolTimeout

from api.http.problems import TryLater
from api.scheduling.bounded_wait import wait_shielded
from api.scheduling.fair_semaphore import FairSemaphore, NotAdmitted, PermitTimeout, QueueFull
from projections.reading.jobs import PipelinedRead
from sql import queries, sessions
from sql.deadlines import Unanswered
from sql.sessions import AsyncSession, Pool
from streams.runtime.safe_text import one_line

T = TypeVar("T")


class Read(NamedTuple, Generic[T]):
    """The result of a read."""

    value: T
    replica_age: int | None = None
    """The greatest age that the data can have, in seconds; None if it is the primary's."""


FAILURES = (psycopg.Error, OSError, NotAdmitted)
"""Errors of a read if the server is unavailable or refuses, or the read takes too long."""

REFUSED = (QueueFull, psycopg.errors.QueryCanceled)
"""Failures that would be the same on another server: a tenant has too many requests, or one of them
takes too long."""

CONFLICT = psycopg.errors.SerializationFailure
"""The error of a statement that a replica cancels because it conflicts with what it replays."""

CONFLICTS = 3
"""The number of times that a read is repeated at least, within its time, after a replica cancelled
it."""

_LOG = structlog.get_logger(__name__)
_QUERIES = queries("reading")

CONNECTION_WAIT_SECONDS = 2.0
"""The time limit for getting a connection."""

MAX_WAITING_PER_CONNECTION = 64
"""The most requests of one tenant that wait, for each connection of the pool; further ones are
refused at once."""

MARGIN_SECONDS = 0.5
"""The time that a read may take in addition to the time limit of a statement."""

CONNECT_SECONDS = 2
"""The time limit for connecting, and again for setting the connection up."""

RECONNECT_SECONDS = 2.0
"""The time for which the pool itself retries to connect; afterwards, a request starts a new try."""

CLOSE_SECONDS = 1.0
"""The time limit for closing the pool, which waits for connections that are still being opened."""

PROBE_SECONDS = 0.5
"""The time limit for the check whether the database is available."""

WARNING_INTERVAL = 5.0
"""Seconds between two warnings about an outage, which every request notices."""

_ADVICE = (
    "run jobtrail migrate, and give the API a login that is not a superuser, does not have "
    "BYPASSRLS, and may SET ROLE jobtrail_api"
)
_LOG_EVENTS: dict[type[Exception], str] = {
    psycopg.errors.QueryCanceled: "database_read_timed_out",
    PoolTimeout: "database_pool_timed_out",
    PermitTimeout: "database_pool_timed_out",
    QueueFull: "database_queue_full",
    Unanswered: "database_did_not_answer",
}
"""Names of log events, by error; `database_unavailable` for all others."""


class PoliciesNotEnforced(Exception):
    """Row-level security does not apply to the API's login, which could read all tenants' rows."""


class Database:
    """Runs reads, each as one tenant; for use from one event loop.

    Args:
        url: the database's URL; None to refuse every read.
        pool_size: the most connections.
        statement_seconds: the time limit for one statement.
        replica: whether the server may be a replica, whose age is read with each answer.
    """

    def __init__(
        self, url: str | None, *, pool_size: int, statement_seconds: float, replica: bool = False
    ) -> None:
        self._reader = {"timeout_ms": round(statement_seconds * 1_000), "tenant": ""}
        """The parameters of `become_reader`; for no tenant, no row exists."""
        self._read_seconds = statement_seconds + MARGIN_SECONDS
        self._pool_size = pool_size
        self._semaphore = FairSemaphore(
            pool_size, max_waiting=pool_size * MAX_WAITING_PER_CONNECTION
        )
        self._pool = None if url is None else self._make_pool(url)
        self._probe: asyncio.Task[bool] | None = None
        self._replica = replica
        self._opening = asyncio.Lock()
        """Held while the pool is opened, so that two first reads do not open it twice."""
        self._next_warning = float("-inf")

    @property
    def watched(self) -> tuple[Pool, Callable[[], int]] | None:
        """The pool and a function, for metrics: the number of requests that wait to use the pool.

        None if no database is configured.
        """
        if self._pool is None:
            return None
        return self._pool, lambda: self._semaphore.waiting

    def log_if_off(self) -> None:
        """Log a warning if no database is configured, so that every read will be refused."""
        if self._pool is None:
            _LOG.warning("durable_reads_off", advice="set JOBTRAIL_DATABASE_URL")

    async def read(self, tenant: str, work: PipelinedRead[T]) -> Read[T]:
        """Return the result of a read, in which only the tenant's rows exist.

        Connections that were lost since their last use are replaced, and the read is repeated.

        Raises:
            TryLater: no database is configured, it is unavailable or refuses the read, or the read
                takes too long.
        """
        try:
            return await self.attempt(tenant, work)
        except FAILURES as error:
            self.warn(error)
            raise TryLater from None

    async def attempt(self, tenant: str, work: PipelinedRead[T]) -> Read[T]:
        """Do what `read` does, but leave it to the caller to log why it failed.

        Raises:
            TryLater: no database is configured.
            psycopg.Error, OSError, NotAdmitted: one of `FAILURES`.
        """
        if self._pool is None:
            raise TryLater
        deadline = time.monotonic() + self._read_seconds
        await self._open(self._pool)
        async with self._semaphore.permit(tenant, min(CONNECTION_WAIT_SECONDS, self._read_seconds)):
            return await self._read(self._pool, tenant, work, deadline)

    def warn(self, error: Exception) -> None:
        """Log why a read failed."""
        self._warn(_LOG_EVENTS.get(type(error), "database_unavailable"), error)

    async def state(self) -> str:
        """Return the state for `/readyz`, after `PROBE_SECONDS` at most.

        Returns:
            `ok`, `away` if reads are not possible now, or `none` if no database is configured.
        """
        if self._pool is None:
            return "none"
        if self._probe is None or self._probe.done():
            self._probe = asyncio.create_task(self._is_available(self._pool))
        with suppress(TimeoutError):
            return "ok" if await wait_shielded(self._probe, PROBE_SECONDS) else "away"
        return "away"

    async def _is_available(self, pool: Pool) -> bool:
        with suppress(psycopg.Error, OSError, NotAdmitted):
            await self._open(pool)
            async with (
                self._semaphore.permit(None, PROBE_SECONDS),
                pool.connection(PROBE_SECONDS) as connection,
            ):
                connection.limit(PROBE_SECONDS)
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
            timeout=CONNECTION_WAIT_SECONDS,
            reconnect_timeout=RECONNECT_SECONDS,
            num_workers=1,
        )

    async def _open(self, pool: Pool) -> None:
        async with self._opening:
            await pool.open()

    async def _configure(self, connection: AsyncSession) -> None:
        """Check that row-level security applies to a new connection.

        Raises:
            PoliciesNotEnforced: it does not.
        """
        try:
            async with connection.transaction():
                await connection.execute(_QUERIES["become_reader"], self._reader)
                cursor = await connection.execute(_QUERIES["bound_by_policies"])
        except psycopg.errors.UndefinedTable as error:
            self._warn("durable_reads_refused", error, advice="run: jobtrail migrate")
            raise
        role, bound = await cursor.fetchone() or ("nobody", False)
        if not bound:
            refused = PoliciesNotEnforced(f"row-level security does not apply to the role {role}")
            self._warn("durable_reads_refused", refused, advice=_ADVICE)
            raise refused

    async def _read(
        self,
        pool: Pool,
        tenant: str,
        work: PipelinedRead[T],
        deadline: float,
    ) -> Read[T]:
        """Return the result of a read until `deadline`, a time on the monotonic clock.

        It is repeated on another connection if one was lost since its last use, once for each
        connection that the pool may have; and if a replica cancelled it.
        """
        for tries_left in reversed(range(max(self._pool_size, CONFLICTS) + 1)):
            left = deadline - time.monotonic()
            try:
                async with pool.connection(min(CONNECTION_WAIT_SECONDS, left)) as connection:
                    connection.limit(deadline - time.monotonic())
                    try:
                        return await self._run(connection, tenant, work)
                    except psycopg.OperationalError as error:
                        if not connection.closed or not tries_left or isinstance(error, Unanswered):
                            raise
            except CONFLICT:
                if not tries_left:
                    raise
        raise AssertionError("the last try returns or raises")

    async def _run(self, connection: AsyncSession, tenant: str, work: PipelinedRead[T]) -> Read[T]:
        """Run a read in one transaction, with its statements pipelined where possible."""
        async with connection.pipeline():
            await connection.execute(_QUERIES["begin"])
            await connection.execute(connection.local_settings)
            await connection.execute(_QUERIES["become_reader"], {**self._reader, "tenant": tenant})
            age = await connection.execute(_QUERIES["replica_age"]) if self._replica else None
            fetch = await work(connection)
            await connection.execute(_QUERIES["commit"])
        value, (seconds,) = await fetch(), (age and await age.fetchone()) or (None,)
        return Read(value, None if seconds is None else max(0, math.ceil(seconds)))

    def _warn(self, event: str, error: Exception, **fields: str) -> None:
        """Log an error that affects all reads, at most once in `WARNING_INTERVAL`."""
        now = time.monotonic()
        if now >= self._next_warning:
            self._next_warning = now + WARNING_INTERVAL
            _LOG.warning(event, error=one_line(error), **fields)

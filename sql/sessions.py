"""Sessions: the only module that opens connections to PostgreSQL.

A role, a database, a shell or a pooler may have settings of its own: another encoding, date style,
time zone, search path, isolation level or timeout. None of them may change what is stored or read.
Therefore nothing runs outside a transaction that begins with its settings
(`sql/session_settings.py`), except what cannot run inside one (`Session.outside`), and variables of
the shell are removed (`sql/url_options.py`).

The writer of rows, replays, chores and commands open a `Session`; the API opens a `Pool`. Used by
`api`, `ops`, `projections`, `sql` and `workers.roster.store`.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from types import MappingProxyType
from typing import Any

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool
from typing_extensions import override

from sql import deadlines
from sql.retries import with_retries
from sql.session_settings import (
    answer_limits,
    connecting_statement,
    reset_settings,
    session_settings,
    transaction_settings,
)
from sql.url_options import connection_start


class UnfitDatabase(psycopg.NotSupportedError):
    """The database cannot hold all text of events; the message says what to do."""


class Session(deadlines.Connection):
    """A connection in autocommit mode, whose transactions begin with their settings.

    Every statement outside a `transaction` block runs in a transaction of its own, which is run
    again after a transient error.
    """

    local_settings = b""
    """The statement that sets what a transaction relies on, until it ends."""
    url = ""
    """The URL that it was opened with, to open another session."""
    own: Mapping[str, str] = MappingProxyType({})
    """Settings of this session's transactions, in addition to those that all sessions have."""
    settled = False
    """True where the session itself has all settings, so that transactions need none."""

    def settle(self) -> bool:
        """Set everything once for the session, unless there is a pooler; return True if set.

        From then on, a statement on its own is one statement at the server, too.

        Raises:
            psycopg.Error: the server is away or refuses; the session is closed.
        """
        try:
            if not pooled(self):
                super().execute(session_settings(self, self.own))
                self.settled = True
        except BaseException:
            self.close()
            raise
        return self.settled

    @override
    @contextmanager
    def transaction(
        self, savepoint_name: str | None = None, force_rollback: bool = False
    ) -> Iterator[psycopg.Transaction]:
        """Open a transaction with its settings, or a savepoint within one.

        Raises:
            psycopg.errors.ReadOnlySqlTransaction: the server is a standby.
        """
        begins = self.info.transaction_status == TransactionStatus.IDLE
        with ExitStack() as stack:
            try:
                block = super().transaction(savepoint_name, force_rollback)
                transaction = stack.enter_context(block)
            except psycopg.errors.FeatureNotSupported as error:
                raise psycopg.errors.ReadOnlySqlTransaction(
                    "the server is a standby, which takes no writes"
                ) from error
            if begins and not self.settled:
                super().execute(self.local_settings)
            yield transaction

    def begin(self) -> None:
        """Begin a transaction that lasts until `commit`, or until the connection is closed."""
        super().execute("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
        super().execute(self.local_settings)

    def execute(self, query: Any, params: Any = None, **options: Any) -> psycopg.Cursor[Any]:
        """Run a statement in the open transaction, or else in one of its own."""
        if self.info.transaction_status != TransactionStatus.IDLE:
            return super().execute(query, params, **options)

        def alone() -> psycopg.Cursor[Any]:
            if self.settled:
                return super(Session, self).execute(query, params, **options)
            with self.transaction():
                return self.execute(query, params, **options)

        return with_retries(alone)

    def outside(self, statement: sql.SQL | sql.Composed) -> None:
        """Run what cannot run in a transaction, such as CREATE INDEX CONCURRENTLY.

        Its settings are set for the session and reset afterwards, so a pooler in between must pool
        sessions.
        """
        super().execute(session_settings(self, self.own))
        try:
            super().execute(statement)
        finally:
            if not self.closed:
                super().execute(reset_settings(self.own))


class AsyncSession(deadlines.AsyncConnection):
    """A connection of a pool: `transaction` blocks begin with their settings.

    Code that begins a transaction otherwise must run `local_settings` first.
    """

    local_settings = b""

    @override
    @asynccontextmanager
    async def transaction(
        self, savepoint_name: str | None = None, force_rollback: bool = False
    ) -> AsyncIterator[psycopg.AsyncTransaction]:
        """Open a transaction with its settings, or a savepoint within one."""
        begins = self.info.transaction_status == TransactionStatus.IDLE
        async with super().transaction(savepoint_name, force_rollback) as transaction:
            if begins:
                await self.execute(self.local_settings)
            yield transaction


Pool = AsyncConnectionPool[AsyncSession]
Configure = Callable[[AsyncSession], Awaitable[None]]


def connect(
    url: str,
    application: str,
    *,
    settings: Mapping[str, str] | None = None,
    connect_seconds: int = 5,
    read_only: bool = False,
    answer_seconds: float = math.inf,
) -> Session:
    """Open a session; `settings` are set in each of its transactions.

    A session that waits longer than `answer_seconds` for one answer is closed (`sql/deadlines.py`).
    A server that works ends the statement by itself a little earlier. It also ends the transaction
    of a client that is silent for that long. So no locks are left behind.

    Raises:
        psycopg.Error: the server is away or refuses, or the database is unfit (UnfitDatabase).
    """
    start = connection_start(url, application, connect_seconds)
    connection = Session.connect(url, autocommit=True, **start.parameters)
    connection.answer_seconds = answer_seconds
    try:
        check_encoding(connection)
        connection.url = url
        connection.own = {**answer_limits(answer_seconds), **start.settings, **(settings or {})}
        connection.local_settings = transaction_settings(connection, connection.own)
        connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        connection.read_only = read_only
        connection.deferrable = False
        psycopg.Connection.execute(connection, connecting_statement(connection))
    except BaseException:
        connection.close()
        raise
    return connection


def pool(
    url: str,
    application: str,
    *,
    configure: Configure | None = None,
    connect_seconds: int = 5,
    **options: Any,
) -> Pool:
    """Return a pool of sessions that is not open yet; `options` are those of the pool."""
    start = connection_start(url, application, connect_seconds)

    async def set_up(connection: AsyncSession) -> None:
        connection.limit(connect_seconds)
        check_encoding(connection)
        connection.local_settings = transaction_settings(connection, start.settings)
        await connection.set_isolation_level(psycopg.IsolationLevel.READ_COMMITTED)
        await connection.execute(connecting_statement(connection))
        if configure is not None:
            await configure(connection)

    return AsyncConnectionPool(
        url,
        kwargs={**start.parameters, "autocommit": True},
        connection_class=AsyncSession,
        configure=set_up,
        open=False,
        name=application,
        **options,
    )


def pooled(connection: Session) -> bool:
    """Return True if there is a pooler in between: it reports another process id."""
    # Outside a transaction of `Session`, whose settings this needs not.
    row = psycopg.Connection.execute(connection, "SELECT pg_backend_pid()").fetchone()
    return row is None or row[0] != connection.info.backend_pid


def check_encoding(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> None:
    """Raise an error for a database that cannot hold all text.

    Raises:
        UnfitDatabase: its encoding is not UTF8.
    """
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise UnfitDatabase(
            f"the database {connection.info.dbname} has the encoding {encoding} and cannot hold all"
            " text: create one with ENCODING 'UTF8' TEMPLATE template0"
        )

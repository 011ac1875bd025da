"""Sessions: every connection to PostgreSQL is made here, and sets what the code relies on.

A role, a database, a shell or a pooler may have settings of its own: another encoding, date style,
time zone, search path, isolation level or timeout. None of them may change what is stored or read:

- Variables of the shell that libpq reads (`PGOPTIONS`, `PGSERVICE` …) are removed, save the two
  that name a password.
- Settings that the server reports, which PgBouncer restores for each client, are set once.
- All others belong to one transaction (SET LOCAL): in transaction mode a pooler gives the next
  transaction to another server session, and this session to another client.

So nothing runs outside a transaction, save what cannot run inside one (`Session.outside`).
"""

from __future__ import annotations

import math
import os
import random
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from types import MappingProxyType
from typing import Any, TypeVar

import psycopg
from psycopg import sql
from psycopg.pq import Conninfo, TransactionStatus
from psycopg_pool import AsyncConnectionPool
from typing_extensions import override

from sql import deadlines
from sql.deadlines import network_options

T = TypeVar("T")

PASSING = (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure)
"""Errors that are nobody's fault: the same transaction, run again, may succeed."""
TRIES = 5
"""Runs of one transaction that meets such errors."""
LONGEST_PAUSE = 0.2
"""Seconds, at most, before the second run; each further run may wait twice as long."""

_CREDENTIALS = {"PGPASSWORD", "PGPASSFILE"}
_UNLISTED = {"PGDATESTYLE", "PGTZ", "PGGEQO", "PGSERVICEFILE", "PGSYSCONFDIR"}
"""Variables that libpq reads beside those of its connection options."""

_UNKNOWN_OPTION = re.compile(r'invalid (?:URI query parameter:|connection option) "(\w{1,64})"')

_REPORTED = {
    "DateStyle": "ISO, MDY",
    "TimeZone": "UTC",
    "standard_conforming_strings": "on",
}
"""The driver reads times by what the server reports of these; encoding is set on connecting."""

_SETTINGS = {
    "app.tenant_id": "",
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "row_security": "on",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
}
_DEFAULTS = {
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off",
}
"""Session defaults in place of the options that BEGIN has elsewhere."""
_SINCE_17 = {"transaction_timeout": "0"}

_COMPUTED = {
    # A list of its own: "$user" in the default one changes with SET ROLE. Temporary tables come
    # last, so that none that another client left in a pooled session stands before ours.
    "search_path": sql.SQL(
        "set_config('search_path', quote_ident(session_user) || ', public, pg_temp', {local})"
    ),
    # What is acknowledged was committed. `local` and stricter values are the operator's choice.
    "synchronous_commit": sql.SQL(
        "set_config('synchronous_commit', CASE current_setting('synchronous_commit')"
        " WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, {local})"
    ),
}
_SET = sql.SQL("set_config({}, {}, {})")
_RESET = sql.SQL("RESET {}")

_TIMEOUTS = (
    "statement_timeout lock_timeout idle_in_transaction_session_timeout transaction_timeout"
    " idle_session_timeout"
).split()
"""None of these is the session's own either, so that none strikes before a transaction has its
settings, or while a session is idle that is needed again. A pooler's sessions are left alone."""

_KEEPALIVES = {
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
}
"""The server must notice a client that is gone, too: its session may hold locks, and by default a
kernel asks after two hours."""

STATEMENT_PART = 0.8
"""The server's limit for a statement, as a part of the client's limit for the answer."""

_ON_CONNECTING = sql.SQL(
    "SELECT set_config(name, value, false) FROM (VALUES {}) AS wanted (name, value, reported)"
    " WHERE current_setting(name, true) <> value AND (reported OR pg_backend_pid() = {})"
)
_WANTED = sql.SQL(", ").join(
    sql.SQL("({}, {}, {})").format(name, value, name in _REPORTED)
    for name, value in {**_REPORTED, **dict.fromkeys(_TIMEOUTS, "0"), **_KEEPALIVES}.items()
)

_OPTION = re.compile(r"(?:-c\s*|--)([A-Za-z_][\w.-]*)=((?:\\.|[^\s\\])*)\s*")


class UnfitDatabase(psycopg.NotSupportedError):
    """The database cannot hold what events say; the message says what to do."""


class Session(deadlines.Connection):
    """A connection in autocommit mode, whose transactions begin with their settings.

    Every statement outside a `transaction` block gets a transaction of its own, which is run again
    where another one was in its way.
    """

    local_settings = b""
    """The statement that sets what a transaction relies on, until it ends."""
    url = ""
    """The URL that it was opened with, to open another session."""
    own: Mapping[str, str] = MappingProxyType({})
    """Settings of this session's transactions, beside those that all have."""
    settled = False
    """True where the session itself has all settings, so that transactions need none."""

    def settle(self) -> bool:
        """Set everything once, for the session, where no pooler is in between; return whether.

        Then a statement on its own is one statement at the server, too.
        """
        if not pooled(self):
            super().execute(_settings(self, {**_DEFAULTS, **self.own}, local=False))
            self.settled = True
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
        """Run a statement in the present transaction, or in one of its own."""
        if self.info.transaction_status != TransactionStatus.IDLE:
            return super().execute(query, params, **options)

        def alone() -> psycopg.Cursor[Any]:
            if self.settled:
                return super(Session, self).execute(query, params, **options)
            with self.transaction():
                return self.execute(query, params, **options)

        return again(alone)

    def outside(self, statement: sql.SQL | sql.Composed) -> None:
        """Run what cannot run in a transaction, such as CREATE INDEX CONCURRENTLY.

        Its settings are the session's for that long, so a pooler in between must pool sessions.
        """
        own = {**_DEFAULTS, **self.own}
        super().execute(_settings(self, own, local=False))
        try:
            super().execute(statement)
        finally:
            if not self.closed:
                names = {*_SETTINGS, *_COMPUTED, *own}.difference(_TIMEOUTS)
                resets = [_RESET.format(sql.Identifier(*name.split("."))) for name in names]
                super().execute(sql.SQL("; ").join(resets))


class AsyncSession(deadlines.AsyncConnection):
    """A connection of a pool: `transaction` blocks begin with their settings.

    Whoever begins a transaction otherwise runs `local_settings` at its beginning.
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

    One answer may take `answer_seconds`; then the session is closed (`sql/deadlines.py`). A server
    that works ends the statement by itself a little earlier, and the transaction of a client that
    it does not hear of for so long: neither is left behind with its locks.

    Raises:
        psycopg.Error: the server is away or refuses, or the database is unfit (UnfitDatabase).
    """
    start, named = _start(url, application, connect_seconds)
    connection = Session.connect(url, autocommit=True, **start)
    connection.answer_seconds = answer_seconds
    try:
        check_encoding(connection)
        connection.url = url
        connection.own = {**_limits(answer_seconds), **named, **(settings or {})}
        connection.local_settings = _settings(connection, connection.own, local=True)
        connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        connection.read_only = read_only
        connection.deferrable = False
        settled = _ON_CONNECTING.format(_WANTED, connection.info.backend_pid)
        psycopg.Connection.execute(connection, settled)
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
    """Make a pool of sessions that is not open yet; `options` are the pool's own."""
    start, named = _start(url, application, connect_seconds)

    async def set_up(connection: AsyncSession) -> None:
        connection.limit(connect_seconds)
        check_encoding(connection)
        connection.local_settings = _settings(connection, named, local=True)
        await connection.set_isolation_level(psycopg.IsolationLevel.READ_COMMITTED)
        await connection.execute(_ON_CONNECTING.format(_WANTED, connection.info.backend_pid))
        if configure is not None:
            await configure(connection)

    return AsyncConnectionPool(
        url,
        kwargs={**start, "autocommit": True},
        connection_class=AsyncSession,
        configure=set_up,
        open=False,
        name=application,
        **options,
    )


def again(work: Callable[[], T]) -> T:
    """Run a whole transaction, and again where a deadlock or a concurrent update ended it.

    Raises:
        psycopg.Error: it failed otherwise, or so for the fifth time.
    """
    for tried in range(1, TRIES):
        try:
            return work()
        except PASSING:
            time.sleep(random.uniform(0, LONGEST_PAUSE * tried))  # noqa: S311 - no secret
    return work()


def pooled(connection: Session) -> bool:
    """Return whether a pooler is in between: it reports a process id of its own."""
    # Without a transaction of ours, whose settings it does not need.
    row = psycopg.Connection.execute(connection, "SELECT pg_backend_pid()").fetchone()
    return row is None or row[0] != connection.info.backend_pid


def check_encoding(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> None:
    """Refuse a database that cannot hold every letter.

    Raises:
        UnfitDatabase: its encoding is not UTF8.
    """
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise UnfitDatabase(
            f"the database {connection.info.dbname} has the encoding {encoding} and cannot hold all"
            " text: create one with ENCODING 'UTF8' TEMPLATE template0"
        )


def unknown_option(url: str) -> str | None:
    """Return the option of a URL that libpq does not know; None where it knows them all."""
    try:
        psycopg.conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        found = _UNKNOWN_OPTION.search(str(error))  # of the rest, some may be a password
        return found and found[1]
    return None


def forget_variables() -> None:
    """Remove the variables that libpq reads from this process, save those that name a password."""
    for option in Conninfo.get_defaults():
        if option.envvar and option.envvar.decode() not in _CREDENTIALS:
            os.environ.pop(option.envvar.decode(), None)
    for name in _UNLISTED:
        os.environ.pop(name, None)


def _start(
    url: str, application: str, connect_seconds: int
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what a connection is opened with, and the settings that its URL names."""
    forget_variables()
    try:
        given = str(psycopg.conninfo.conninfo_to_dict(url).get("options") or "")
    except psycopg.ProgrammingError:
        given = ""  # whoever connects is told what is wrong with the URL
    start: dict[str, Any] = {
        **network_options(url),
        "application_name": application,
        "connect_timeout": connect_seconds,
        "client_encoding": "UTF8",
        # PgBouncer refuses them; those that name a setting are set in each transaction instead.
        "options": _OPTION.sub("", given).strip(),
        # A prepared statement keeps the plan of the table and the filters that it was first run on,
        # and belongs to one server session.
        "prepare_threshold": None,
    }
    return start, _named(given)


def _settings(
    connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any],
    own: Mapping[str, str],
    *,
    local: bool,
) -> bytes:
    """Return the statement that sets everything until the transaction ends, or for the session."""
    newer = _SINCE_17 if connection.info.server_version >= 170_000 else {}
    values = {**_SETTINGS, **newer, **own, **(_REPORTED if local else {})}
    computed = (part for name, part in _COMPUTED.items() if name not in values)
    parts = [
        *(part.format(local=local) for part in computed),
        *(_SET.format(name, value, local) for name, value in values.items()),
    ]
    return sql.SQL("SELECT {}").format(sql.SQL(", ").join(parts)).as_bytes(connection)


def _limits(answer_seconds: float) -> dict[str, str]:
    """Return the server's own limits for a session whose answers have one."""
    if math.isinf(answer_seconds):
        return {}
    return {
        "statement_timeout": f"{answer_seconds * STATEMENT_PART:.3f}s",
        "idle_in_transaction_session_timeout": f"{answer_seconds:.3f}s",
    }


def _named(options: str) -> dict[str, str]:
    """Return the settings that the `options` of a URL name."""
    return {
        name.replace("-", "_").lower(): re.sub(r"\\(.)", r"\1", value)
        for name, value in _OPTION.findall(options)
    }

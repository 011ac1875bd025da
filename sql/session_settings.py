"""Statements that set what the code relies on, for a session or for one transaction.

Sessions run them. Settings are of three groups:

- Those that the server reports to clients (`_REPORTED`). PgBouncer restores them for each client.
- Those of a transaction (`_SETTINGS`, `_COMPUTED`). In transaction mode a pooler gives the next
  transaction to another server session, and this session to another client.
- Those of the session itself (`_TIMEOUTS`, `_KEEPALIVES`), which a pooler's sessions do not get.

Used by `sql.sessions`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import psycopg
from psycopg import sql

STATEMENT_PART = 0.8
"""The server's limit for a statement, as a part of the client's limit for the answer."""

SESSION_DEFAULTS = {
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off",
}
"""Settings of a whole session in place of the options that BEGIN has otherwise."""

_REPORTED = {
    "DateStyle": "ISO, MDY",
    "TimeZone": "UTC",
    "standard_conforming_strings": "on",
}
"""The driver reads times by the reported values; the encoding is a parameter of the connection."""

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
_SINCE_17 = {"transaction_timeout": "0"}

_COMPUTED = {
    # The default, "$user", changes with SET ROLE. Temporary tables come last, so that none that
    # another client left in a pooled session hides ours.
    "search_path": sql.SQL(
        "set_config('search_path', quote_ident(session_user) || ', public, pg_temp', {local})"
    ),
    # What is acknowledged was committed. `local` and stricter values are the operator's choice.
    "synchronous_commit": sql.SQL(
        "set_config('synchronous_commit', CASE current_setting('synchronous_commit')"
        " WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, {local})"
    ),
}

_TIMEOUTS = (
    "statement_timeout lock_timeout idle_in_transaction_session_timeout transaction_timeout"
    " idle_session_timeout"
).split()
"""Limits that a role or a database may have. A session has none of them itself: none can end a
transaction before it has its own settings, or a session that is idle and needed again."""

_KEEPALIVES = {
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
}
"""The server must notice a lost client, whose session may hold locks; by default a kernel notices
after two hours."""

_SET = sql.SQL("set_config({}, {}, {})")
_RESET = sql.SQL("RESET {}")
_ON_CONNECTING = sql.SQL(
    "SELECT set_config(name, value, false) FROM (VALUES {}) AS wanted (name, value, reported)"
    " WHERE current_setting(name, true) <> value AND (reported OR pg_backend_pid() = {})"
)
_WANTED = sql.SQL(", ").join(
    sql.SQL("({}, {}, {})").format(name, value, name in _REPORTED)
    for name, value in {**_REPORTED, **dict.fromkeys(_TIMEOUTS, "0"), **_KEEPALIVES}.items()
)

AnyConnection = psycopg.Connection[Any] | psycopg.AsyncConnection[Any]


def connecting_statement(connection: AnyConnection) -> sql.Composed:
    """Return the statement that a new session begins with."""
    return _ON_CONNECTING.format(_WANTED, connection.info.backend_pid)


def transaction_settings(connection: AnyConnection, own: Mapping[str, str]) -> bytes:
    """Return the statement that sets everything, and own settings, until a transaction ends."""
    return _statement(connection, {**own, **_REPORTED}, local=True)


def session_settings(connection: AnyConnection, own: Mapping[str, str]) -> bytes:
    """Return the statement that sets everything, and own settings, for a session."""
    return _statement(connection, {**SESSION_DEFAULTS, **own}, local=False)


def reset_settings(own: Collection[str]) -> sql.Composed:
    """Return the statement that undoes `session_settings`, except for the time limits."""
    names = {*_SETTINGS, *_COMPUTED, *SESSION_DEFAULTS, *own}.difference(_TIMEOUTS)
    return sql.SQL("; ").join(_RESET.format(sql.Identifier(*name.split("."))) for name in names)


def answer_limits(answer_seconds: float) -> dict[str, str]:
    """Return the server's own limits for a session whose answers have one, in seconds."""
    if math.isinf(answer_seconds):
        return {}
    return {
        "statement_timeout": f"{answer_seconds * STATEMENT_PART:.3f}s",
        "idle_in_transaction_session_timeout": f"{answer_seconds:.3f}s",
    }


def _statement(connection: AnyConnection, own: Mapping[str, str], *, local: bool) -> bytes:
    newer = _SINCE_17 if connection.info.server_version >= 170_000 else {}
    values = {**_SETTINGS, **newer, **own}
    computed = (part for name, part in _COMPUTED.items() if name not in values)
    parts = [
        *(part.format(local=local) for part in computed),
        *(_SET.format(name, value, local) for name, value in values.items()),
    ]
    return sql.SQL("SELECT {}").format(sql.SQL(", ").join(parts)).as_bytes(connection)

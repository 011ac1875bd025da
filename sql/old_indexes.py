"""Indexes that the tables of the old system lack: built and dropped while it is in use.

They speed up the queries that stay with the old tables (`sql/queries/old_indexes.sql`). Building is
safe to repeat: valid indexes are left, invalid ones, which a crash left, are built again. Used by
`ops.commands.old_tables`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import psycopg
from psycopg.sql import SQL, Identifier

from sql import queries
from sql.indexes import IndexState, drop, index_state
from sql.migrate import migrations_locked
from sql.sessions import Session

TABLES: Mapping[str, str] = {"students": "students", "aijob": "aijob", "video": "video"}
"""The old tables by their names in the statements; the names of a deployment may differ."""

NO_COLUMN = "no such column"
"""Reported for an index of a column that the table lacks."""

_STATEMENTS = queries("old_indexes")
NAMES = tuple(_STATEMENTS)


class Report(NamedTuple):
    """The state of an index, and what was done."""

    name: str
    found: IndexState
    done: str
    """`built`, `rebuilt`, `dropped`, `no such column`, or nothing."""


def look(connection: psycopg.Connection) -> Iterator[Report]:
    """Yield the state of each index."""
    for name in NAMES:
        yield Report(name, index_state(connection, name), "")


def build(connection: Session, tables: Mapping[str, str] = TABLES) -> Iterator[Report]:
    """Build the missing indexes one after another, without blocking writers.

    The connection is in autocommit mode, and its current schema is that of the tables. Other
    processes that build them wait for this one.

    Raises:
        psycopg.Error: the database is away or refuses; indexes that were built remain.
    """
    named = {role: Identifier(table) for role, table in {**TABLES, **tables}.items()}
    with migrations_locked(connection):
        for name, statement in _STATEMENTS.items():
            found = index_state(connection, name)
            if found in ("valid", "building"):
                yield Report(name, found, "")
                continue
            if found == "invalid":
                drop(connection, name)
            try:
                connection.outside(SQL(statement).format(**named))
            except psycopg.errors.UndefinedColumn:
                yield Report(name, found, NO_COLUMN)
                continue
            yield Report(name, found, "built" if found == "absent" else "rebuilt")


def take_back(connection: Session) -> Iterator[Report]:
    """Drop all of them without blocking writers; raises the errors of `build`."""
    with migrations_locked(connection):
        for name in NAMES:
            found = index_state(connection, name)
            if found != "absent":
                drop(connection, name)
            yield Report(name, found, "" if found == "absent" else "dropped")

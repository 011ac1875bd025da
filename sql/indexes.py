"""The state and the removal of indexes that are built without blocking writers.

A CREATE INDEX CONCURRENTLY that is interrupted leaves an *invalid* index. Each write updates it and
no read uses it, and IF NOT EXISTS skips the build because the name is taken. So it is dropped
first. Used by `sql.migrate` and `sql.old_indexes`.
"""

from __future__ import annotations

import re
from typing import Literal

import psycopg
from psycopg.sql import SQL, Identifier

from sql import queries
from sql.sessions import Session

IndexState = Literal["absent", "invalid", "building", "valid"]
"""States of an index; one that is *building* is being built by another session."""

_CREATED = re.compile(
    r"CREATE\s+(?:UNIQUE\s+)?INDEX\s+CONCURRENTLY\s+(?:IF\s+NOT\s+EXISTS\s+)?(\w+)", re.IGNORECASE
)
_STATE = queries("indexes")["index_state"]


def index_state(connection: psycopg.Connection, name: str) -> IndexState:
    """Return the state of the index of a name in the current schema."""
    row = connection.execute(_STATE, (name,)).fetchone()
    found: IndexState = "absent" if row is None else row[0]
    return found


def drop(connection: Session, name: str) -> None:
    """Drop an index without blocking writers, on a connection that is in no transaction."""
    connection.outside(SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(Identifier(name)))


def drop_invalid(connection: Session, statement: str) -> None:
    """Drop the index that a CREATE INDEX CONCURRENTLY would create, if it exists and is invalid."""
    created = _CREATED.search(statement)
    if created and index_state(connection, created[1]) == "invalid":
        drop(connection, created[1])

"""Indexes that are built while everything goes on, and what a crash leaves of them.

CREATE INDEX CONCURRENTLY that is interrupted leaves an *invalid* index: it costs every write and
serves no read, and as it has the name, IF NOT EXISTS passes over it for ever. It is dropped first.
"""

from __future__ import annotations

import re
from typing import Literal

import psycopg
from psycopg.sql import SQL, Identifier

from sql import queries
from sql.sessions import Session

Standing = Literal["absent", "invalid", "building", "valid"]
"""How an index stands; a *building* one is being built by another session at this moment."""

_CREATED = re.compile(
    r"CREATE\s+(?:UNIQUE\s+)?INDEX\s+CONCURRENTLY\s+(?:IF\s+NOT\s+EXISTS\s+)?(\w+)", re.IGNORECASE
)
_STANDING = queries("indexes")["standing"]


def standing(connection: psycopg.Connection, name: str) -> Standing:
    """Tell how the index of a name stands in the current schema."""
    row = connection.execute(_STANDING, (name,)).fetchone()
    found: Standing = "absent" if row is None else row[0]
    return found


def drop(connection: Session, name: str) -> None:
    """Drop an index without holding writers up; the connection is outside any transaction."""
    connection.outside(SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(Identifier(name)))


def clear_way(connection: Session, statement: str) -> None:
    """Drop what a crash left of the index that a statement is about to create, if it does."""
    created = _CREATED.search(statement)
    if created and standing(connection, created[1]) == "invalid":
        drop(connection, created[1])

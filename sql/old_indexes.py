"""The indexes that the old system's own tables lack: built beside its traffic, and taken back.

They speed up the queries that stay with the old tables (`sql/queries/old_indexes.sql` names each).
Building is safe to repeat: what stands is left, what a crash left half-built is built again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import psycopg
from psycopg.sql import SQL, Identifier

from sql import queries
from sql.indexes import Standing, drop, standing
from sql.migrate import turn
from sql.sessions import Session

TABLES: Mapping[str, str] = {"students": "students", "aijob": "aijob", "video": "video"}
"""The old tables by the names that the statements have for them; a deployment's own may differ."""

NO_COLUMN = "no such column"
"""What is reported of an index that a table of another shape cannot have."""

_STATEMENTS = queries("old_indexes")
NAMES = tuple(_STATEMENTS)


class Report(NamedTuple):
    """What was found of an index, and what was done about it."""

    name: str
    found: Standing
    done: str
    """`built`, `rebuilt`, `dropped`, `no such column`, or nothing."""


def look(connection: psycopg.Connection) -> Iterator[Report]:
    """Tell how each index stands."""
    for name in NAMES:
        yield Report(name, standing(connection, name), "")


def build(connection: Session, tables: Mapping[str, str] = TABLES) -> Iterator[Report]:
    """Build what is missing, one after another, holding no writer up.

    The connection is in autocommit mode, and its current schema is the tables'. Whoever builds at
    the same time waits for this to end.

    Raises:
        psycopg.Error: the database is away or refuses; what was built stays.
    """
    named = {role: Identifier(table) for role, table in {**TABLES, **tables}.items()}
    with turn(connection):
        for name, statement in _STATEMENTS.items():
            found = standing(connection, name)
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
    """Drop them all, holding no writer up; raises as `build`."""
    with turn(connection):
        for name in NAMES:
            found = standing(connection, name)
            if found != "absent":
                drop(connection, name)
            yield Report(name, found, "" if found == "absent" else "dropped")

"""Looking at the roster's tables, and halting an import at a row of the test's choice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import psycopg

from tests.support.waiting import eventually

Database = psycopg.Connection[Any]

_COUNTS = """
SELECT (SELECT count(*) FROM roster.students), (SELECT count(*) FROM roster.users),
       (SELECT count(*) FROM roster.memberships), (SELECT count(*) FROM roster.parents)
"""
_HARM = """
SELECT 'orphan user', u.id::text FROM roster.users AS u
WHERE NOT EXISTS (SELECT FROM roster.students AS s WHERE s.user_id = u.id)
   OR NOT EXISTS (SELECT FROM roster.memberships AS m WHERE m.user_id = u.id)
UNION ALL
SELECT 'orphan parent', p.id::text FROM roster.parents AS p
WHERE NOT EXISTS (SELECT FROM roster.students AS s WHERE s.parent_id = p.id)
UNION ALL
SELECT 'twice', name || parent_phone FROM roster.students
GROUP BY tenant, name, parent_phone HAVING count(*) > 1
UNION ALL
SELECT 'same number', ps_number FROM roster.students GROUP BY ps_number HAVING count(*) > 1
"""
_WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE application_name = 'jobtrail-roster' AND wait_event_type = 'Lock'
"""


class Counts(NamedTuple):
    students: int
    users: int
    memberships: int
    parents: int


def counts(database: Database) -> Counts:
    """Give the numbers of rows."""
    row = database.execute(_COUNTS).fetchone()
    assert row
    return Counts(*row)


def harm(database: Database) -> list[Any]:
    """Give what no import may leave: orphans, doubles, numbers given twice."""
    return database.execute(_HARM).fetchall()


@contextmanager
def halted(database_url: str, tenant: str, phone: str) -> Iterator[None]:
    """Let no import get past the chunk with this parent's number until the block ends.

    The block begins at once; `await_halt` waits for the imports.
    """
    with psycopg.connect(database_url) as holder:
        holder.execute(
            "INSERT INTO roster.parents (tenant, phone) VALUES (%s, %s)", (tenant, phone)
        )
        yield
        holder.rollback()


def await_halt(database: Database, imports: int = 1) -> None:
    """Wait until so many imports stand still at what `halted` holds."""

    def standing() -> bool:
        row = database.execute(_WAITING).fetchone()
        return row is not None and row[0] >= imports

    eventually(standing, timeout=60, what="an import that waits for a lock")

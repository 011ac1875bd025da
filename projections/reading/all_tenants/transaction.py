"""The transaction of a read, and reads of single rows.

Used by `api.operators.jobs` and `projections.reading.all_tenants`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, LiteralString

from psycopg import AsyncConnection

from sql import queries
from streams.events import load_json
from streams.kinds import State

_QUERIES = queries("console")

STATEMENT_MS = 5_000
"""The time limit for one statement, in milliseconds."""


@asynccontextmanager
async def read_transaction(connection: AsyncConnection[Any]) -> AsyncIterator[None]:
    """Open a read-only transaction as the role that sees the rows of all tenants.

    Raises:
        psycopg.Error: the database is away, or a statement exceeded its time limit.
    """
    async with connection.transaction():
        await connection.execute(_QUERIES["enter"], {"milliseconds": str(STATEMENT_MS)})
        yield


async def server_health(connection: AsyncConnection[Any]) -> tuple[str, int, int]:
    """Return the server's version, its connections to the database, and its size in bytes."""
    async with read_transaction(connection):
        row = await fetch_one(connection, _QUERIES["health"], {})
        return row or ("", 0, 0)


async def fetch_one(
    connection: AsyncConnection[Any], query: LiteralString, values: Mapping[str, Any]
) -> Any:
    """Return the first row of a query; None if it has no rows."""
    return await (await connection.execute(query, values)).fetchone()


async def fetch_all(
    connection: AsyncConnection[Any], query: LiteralString, values: Mapping[str, Any]
) -> list[Any]:
    """Return all rows of a query."""
    return await (await connection.execute(query, values)).fetchall()


def progress_of(job: Mapping[str, Any]) -> Any:
    """Return the progress in a row as progress answers have it: only while processing."""
    return json_value(job["progress"]) if job["state"] == State.PROCESSING else None


def json_value(text: str | None) -> Any:
    """Return the value of a JSON column that was read as text; None for NULL."""
    return None if text is None else load_json(text.encode())

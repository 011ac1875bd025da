"""Ids and tenants that an operator may mean: by their beginning, or near to what was typed.

Used by `api.operators.jobs` and `api.operators.tenant_names`.
"""

from __future__ import annotations

from typing import Any

from psycopg import AsyncConnection

from projections.reading.all_tenants.transaction import fetch_all, read_transaction
from sql import queries

_QUERIES = queries("console")
_COLUMNS = ("tenant", "kind", "id", "state")

MAX_TENANTS = 20_000
"""The most names of tenants that are read."""


async def read_near_ids(
    connection: AsyncConnection[Any], text: str, limit: int
) -> list[dict[str, Any]]:
    """Return jobs whose ids begin with a text; if there are none, those next to it by id.

    Args:
        connection: a connection that is not in a transaction.
        text: the text.
        limit: the most jobs to return.
    """
    values = {"id": text, "limit": limit}
    async with read_transaction(connection):
        following = await fetch_all(connection, _QUERIES["ids_from"], values)
        found = [row for row in following if row[2].startswith(text)]
        if not found:
            before = await fetch_all(
                connection, _QUERIES["ids_before"], {**values, "limit": limit // 2}
            )
            found = [*reversed(before), *following][:limit]
    return [dict(zip(_COLUMNS, row, strict=True)) for row in found]


async def read_tenants(connection: AsyncConnection[Any]) -> list[str]:
    """Return the names of the tenants that have jobs, `MAX_TENANTS` at most."""
    async with read_transaction(connection):
        rows = await fetch_all(connection, _QUERIES["tenants"], {"limit": MAX_TENANTS})
    return [tenant for (tenant,) in rows]

"""The names of all tenants, for suggestions while somebody types. Used by `api.operators.jobs`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from psycopg import AsyncConnection

from projections.reading.all_tenants.suggestions import read_tenants

CACHED_SECONDS = 60.0
"""Seconds for which the names are cached: 10,000 of them take PostgreSQL about 50 ms."""


class TenantNames:
    """The names, read when they are needed."""

    def __init__(self) -> None:
        self._names: Sequence[str] = ()
        self._expires = float("-inf")

    async def names(self, connection: AsyncConnection[Any]) -> Sequence[str]:
        """Return the names of the tenants that have jobs, in their order."""
        if time.monotonic() >= self._expires:
            self._names = await read_tenants(connection)
            self._expires = time.monotonic() + CACHED_SECONDS
        return self._names


def names_near(text: str, names: Sequence[str], limit: int) -> list[str]:
    """Return names that contain a text, those that begin with it first; else similar names."""
    wanted = text.casefold()
    containing = [name for name in names if wanted in name.casefold()]
    containing.sort(key=lambda name: (not name.casefold().startswith(wanted), len(name), name))
    return containing[:limit] or get_close_matches(text, names, limit)

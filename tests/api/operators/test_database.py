"""The operators' connections to PostgreSQL, on a real server."""

from __future__ import annotations

import asyncio

import pytest
from psycopg_pool import PoolTimeout

from api.operators import database
from api.operators.database import OperatorDatabase


def test_late_turn__the_server_does_not_count_as_away_for_those_that_wait(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        operators = OperatorDatabase(database_url)
        try:
            async with operators.connection():  # one of two turns
                with monkeypatch.context() as patch:
                    patch.setattr(database, "TOTAL_SECONDS", 0.0005)  # too short to connect
                    late = asyncio.create_task(_ask(operators))
                    await asyncio.sleep(0)
                waiting = asyncio.create_task(_ask(operators))
                with pytest.raises(PoolTimeout):
                    await late
                assert await waiting == 1
        finally:
            await operators.close()

    asyncio.run(scenario())


async def _ask(operators: OperatorDatabase) -> int:
    async with operators.connection() as connection:
        (found,) = await (await connection.execute("SELECT 1")).fetchone() or (0,)
        return int(found)

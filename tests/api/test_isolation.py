"""Another tenant's data is like data that does not exist, also in the time that an answer takes.

A clock on a busy machine proves nothing; what is counted is the work: the commands that Redis got
and the statements that PostgreSQL got.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
import redis
from psycopg import AsyncCursor

from projections.decoding import decode
from projections.rows.writer import JobRows
from sql import sessions
from streams.entry_ids import EntryId
from streams.events import dump_json
from tests.api.conftest import Asker, Writer
from tests.support.tokens import FAR

pytestmark = pytest.mark.anyio

SECRET = "a-secret-of-more-than-thirty-two-bytes"
EVENT = {"type": "done", "id": "a1", "result": {"rows": 3}}
PATHS = [
    "/api/v1/jobs/{}/progress/",
    "/api/v1/jobs/{}/progress/events",
    "/api/v1/jobs/{}/",
    "/api/v1/jobs/{}/history/",
    "/api/v1/progress/query",
]
Work = tuple[dict[str, int], list[str]]
"""The numbers of Redis commands by name, and the SQL statements."""


@pytest.fixture
def rows(database_url: str) -> None:
    """A row of the first tenant."""
    written = JobRows(lambda: sessions.connect(database_url, "test"))
    # The history's partitions are of weeks around now.
    entry_id = EntryId(time.time_ns() // 1_000_000, 0)
    written.apply([decode("first", entry_id, [b"event", dump_json(EVENT)])])
    written.close()


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """All statements sent to PostgreSQL."""
    sent: list[str] = []
    execute = AsyncCursor.execute

    async def noted(self: Any, query: Any, *args: Any, **options: Any) -> Any:
        sent.append(str(query))
        return await execute(self, query, *args, **options)

    monkeypatch.setattr(AsyncCursor, "execute", noted)
    return sent


@pytest.fixture
def commands(redis_client: redis.Redis) -> Callable[[], dict[str, int]]:
    """Counts Redis commands by name."""

    def counted() -> dict[str, int]:
        found = redis_client.info("commandstats")
        own = ("cmdstat_info", "cmdstat_config|resetstat", "cmdstat_client|setinfo")
        return {name: row["calls"] for name, row in found.items() if name not in own}

    return counted


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.usefixtures("rows")
async def test_same_work(
    *,
    ask: Asker,
    write: Writer,
    database_url: str,
    redis_client: redis.Redis,
    statements: list[str],
    commands: Callable[[], dict[str, int]],
    path: str,
) -> None:
    """Another tenant's job, a missing job, and both for a limited token cost the same work."""
    write("first", EVENT)
    async with ask(auth="jwt", jwt_secret=SECRET, database_url=database_url) as client:

        async def work(job_id: str, **claims: Any) -> Work:
            headers = {"authorization": f"Bearer {jwt.encode({'exp': FAR, **claims}, SECRET)}"}
            redis_client.config_resetstat()
            statements.clear()
            if path.endswith("query"):
                answer = await client.post(path, headers=headers, json={"jobs": [job_id]})
                assert answer.json()["jobs"] == {job_id: None}
            else:
                answer = await client.get(path.format(job_id), headers=headers)
                assert answer.status_code == 404
            return commands(), list(statements)

        # What only the first request pays for: connections, scripts.
        await work("none", tenant_id="second")
        assert await work("a1", tenant_id="second") == await work("none", tenant_id="second")
        narrowed: dict[str, Any] = {"tenant_id": "first", "jobs": ["other"]}
        assert await work("a1", **narrowed) == await work("none", **narrowed)
        headers = {
            "authorization": f"Bearer {jwt.encode({'exp': FAR, 'tenant_id': 'first'}, SECRET)}"
        }
        if not path.endswith("query"):
            mine = await client.get(path.format("a1"), headers=headers)
            assert mine.status_code == 200

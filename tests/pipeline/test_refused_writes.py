"""Servers that answer and refuse writes: out of memory, out of disk, without their replicas.

Appends report it, consumers wait and go on by themselves, what can be served is served, and
`/readyz` and the doctor name the server.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Any, NamedTuple

import httpx
import psycopg
import pytest
import redis

from api.live import subscriptions
from ops.devstack import EmbeddedPostgres, EmbeddedRedis
from ops.doctor.examination import examine
from ops.doctor.finding import Finding
from ops.errors import line_for
from streams.appender import EventAppender
from streams.connection import LogUnavailable, connect, connect_async
from streams.settings import Settings
from tests.pipeline.test_half_open import (
    JOBS,
    RECOVERY_SECONDS,
    TENANT,
    append,
    consuming,
    outages,
    stored,
    wait_until_settled,
)
from tests.pipeline.test_half_open import sessions_closed as sessions_closed  # noqa: PLC0414
from tests.support.event_stream import running_api
from tests.support.full import REDIS_REFUSALS, Refusing, full_disk, refused_rows, small_disk
from tests.support.servers import copy_folder, server_folder
from tests.support.waiting import eventually

ME = {"x-tenant-id": TENANT}


def more_outages(group: str, count: float) -> bool:
    return outages(group, "redis") > count


class Rig(NamedTuple):
    """An API with servers of its own."""

    redis: EmbeddedRedis
    postgres: EmbeddedPostgres
    disk: Path | None
    """The folder of PostgreSQL's small disk, if it has one."""
    url: str

    def ready(self) -> dict[str, str]:
        answer = httpx.get(f"{self.url}/readyz", timeout=RECOVERY_SECONDS)
        assert answer.status_code == 200
        return dict(answer.json())

    def served(self, path: str) -> str:
        answer = httpx.get(f"{self.url}{path}", headers=ME, timeout=RECOVERY_SECONDS)
        assert answer.status_code == 200
        return str(answer.json()["status"])

    def finding(self, check: str) -> Finding:
        settings = Settings(redis_url=self.redis.url, database_url=self.postgres.url)
        return {each.check: each for each in examine(settings)}[check]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def servers(postgres_folder: Path) -> Iterator[Rig]:
    with ExitStack() as stack:
        folder = stack.enter_context(server_folder())
        mounted = stack.enter_context(small_disk(folder))
        copy_folder(postgres_folder, folder)
        postgres = stack.enter_context(EmbeddedPostgres(folder, fast=True))
        redis_folder = stack.enter_context(server_folder())
        redis = stack.enter_context(EmbeddedRedis(redis_folder, persist=False))
        api = running_api(redis.url, database_url=postgres.url)
        url = stack.enter_context(api).url
        yield Rig(redis, postgres, folder if mounted else None, url)


@pytest.fixture
def rig(servers: Rig) -> Rig:
    with connect(servers.redis.url) as client:
        client.flushall()
    with psycopg.connect(servers.postgres.url) as connection:
        connection.execute("TRUNCATE jobs, job_events")
    return servers


@pytest.mark.parametrize("word", REDIS_REFUSALS)
def test_redis_refuses_writes__consumers_catch_up_and_progress_is_served(
    rig: Rig, word: str
) -> None:
    refusing: Refusing = REDIS_REFUSALS[word]
    before = {group: outages(group, "redis") for group in ("status", "rows")}
    with connect(rig.redis.url) as client, ExitStack() as consumers:
        with consuming("status", rig.redis.url, rig.postgres.url):
            append(client, "processing")
            wait_until_settled(client, "status")
        append(client, "done")

        with refusing(rig.redis):
            for group in before:
                consumers.enter_context(consuming(group, rig.redis.url, rig.postgres.url))
            with pytest.raises(LogUnavailable, match=word) as refused:
                append(client, "queued")
            assert rig.ready() == {
                "status": "ready",
                "database": "ok",
                "redis": "refuses writes",
            }
            assert rig.served("/api/v1/jobs/a0/progress/") == "PROCESSING"
            found = rig.finding("redis writes")
            for group, count in before.items():
                eventually(partial(more_outages, group, count), RECOVERY_SECONDS)

        for group in before:
            wait_until_settled(client, group)
        assert client.xlen(f"tenant:{TENANT}:dead") == 0
    line = line_for(refused.value)
    assert line
    assert "URL" not in line
    assert not found.ok
    assert word in found.found
    assert rig.ready() == {"status": "ready", "database": "ok"}
    assert rig.served("/api/v1/jobs/a0/progress/") == "DONE"
    assert stored(rig.postgres.url) == [("DONE", 2)] * JOBS
    assert rig.finding("redis writes").ok


@pytest.mark.anyio
async def test_redis_that_cannot_save__listening_for_changes_goes_on(rig: Rig) -> None:
    """Such a server refuses the PING by which the listener sees that its connection lives."""
    client = connect_async(rig.redis.url)
    pool: Any = client.connection_pool  # in part without type hints
    connection = await pool.get_connection()
    await connection.send_command("SUBSCRIBE", "tenant:1:feed")
    await subscriptions.next_reply(connection)
    with REDIS_REFUSALS["MISCONF"](rig.redis):
        await connection.send_command("PING", check_health=False)
        assert await subscriptions.next_reply(connection) is None
        with connect(rig.redis.url) as other:
            other.publish("tenant:1:feed", "changed")
        assert (await subscriptions.next_reply(connection))[-1] == b"changed"
    await connection.disconnect()
    await client.aclose()


def append_large_ends(client: redis.Redis) -> None:
    """End the jobs with results that need more room than PostgreSQL's files have left."""
    EventAppender(client).append_many(
        (TENANT, {"type": "done", "id": f"a{number}", "result": {"pad": token_hex(40_000)}})
        for number in range(JOBS)
    )


def test_postgres_disk_full__rows_catch_up_and_all_reads_are_served(rig: Rig) -> None:
    url, before = rig.postgres.url, outages("rows", "postgres")
    with ExitStack() as consumers, connect(rig.redis.url) as client:
        for group in ("status", "rows"):
            consumers.enter_context(consuming(group, rig.redis.url, url))
        append(client, "processing")
        wait_until_settled(client, "rows")

        with refused_rows(rig.postgres) if rig.disk is None else full_disk(rig.disk):
            append_large_ends(client)
            eventually(lambda: outages("rows", "postgres") > before, RECOVERY_SECONDS)
            wait_until_settled(client, "status")
            assert rig.served("/api/v1/jobs/a0/progress/") == "DONE"
            assert rig.served("/api/v1/jobs/a0/") == "PROCESSING"
            assert rig.ready() == {"status": "ready", "database": "ok"}
            if rig.disk is not None:
                found = rig.finding("postgres writes")
                assert not found.ok
                assert "No space left" in found.found

        wait_until_settled(client, "rows")
        assert client.xlen(f"tenant:{TENANT}:dead") == 0
    assert stored(url) == [("DONE", 2)] * JOBS
    assert rig.finding("postgres writes").ok

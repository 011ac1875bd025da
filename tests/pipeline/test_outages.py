"""Servers that go away and come back; consumers that are killed."""

from __future__ import annotations

import json
from typing import Any

import httpx
import psycopg
import redis

from ops.devstack import EmbeddedPostgres, EmbeddedRedis
from streams.appender import EventAppender
from streams.connection import connect
from tests.pipeline.conftest import Start
from tests.support.groups import pending, settled
from tests.support.servers import PostgresFactory, RedisFactory
from tests.support.waiting import ENDING, eventually


def _rows(server: EmbeddedPostgres) -> int:
    with psycopg.connect(server.url, autocommit=True) as connection:
        row = connection.execute("SELECT count(*) FROM jobs WHERE status = 'DONE'").fetchone()
        assert row
        return int(row[0])


def _address(process: Any) -> str:
    line: str = process.stdout.readline().decode()
    return line.removeprefix("api: ").strip()


def test_postgres_stopped__status_goes_on_and_rows_catch_up(
    start: Start, redis_url: str, redis_client: redis.Redis, own_postgres: PostgresFactory
) -> None:
    postgres = own_postgres()
    settings = {"redis_url": redis_url, "database_url": postgres.url}
    for group in ("status", "rows"):
        start("consume", group, **settings)
    api = _address(start("api", **settings, auth="dev", api_port="0"))
    appender = EventAppender(redis_client)
    appender.append("1", {"type": "done", "id": "before"})
    eventually(lambda: _rows(postgres) == 1)

    postgres.stop()
    appender.append_many(("1", {"type": "done", "id": f"during-{n}"}) for n in range(100))

    me = {"X-Tenant-ID": "1"}
    url = f"{api}/api/v1/jobs/during-99/progress/"
    eventually(lambda: httpx.get(url, headers=me).status_code == 200)
    assert httpx.get(url, headers=me).json()["status"] == "DONE"
    assert redis_client.xlen("tenant:1:dead") == 0

    postgres.start()
    eventually(lambda: _rows(postgres) == 101, timeout=30)
    eventually(lambda: settled(redis_client, "1", "rows"))
    assert redis_client.xlen("tenant:1:dead") == 0


def test_redis_stopped__api_says_503_and_all_come_back_by_themselves(
    start: Start, own_redis: RedisFactory, database_url: str
) -> None:
    server: EmbeddedRedis = own_redis(persist=True)
    settings = {"redis_url": server.url, "database_url": database_url}
    consumers = [start("consume", group, **settings) for group in ("status", "rows")]
    serving = start("api", **settings, auth="dev", api_port="0")
    api = _address(serving)
    me, url = {"X-Tenant-ID": "1"}, f"{api}/api/v1/jobs/a1/progress/"
    with connect(server.url) as client:
        EventAppender(client).append("1", {"type": "processing", "id": "a1"})
    eventually(lambda: httpx.get(url, headers=me).status_code == 200)

    server.stop()

    refused = httpx.get(url, headers=me)
    assert refused.status_code == 503
    assert refused.headers["content-type"] == "application/problem+json"
    assert "Traceback" not in refused.text
    assert httpx.get(f"{api}/healthz").status_code == 200
    assert httpx.get(f"{api}/readyz").status_code == 503

    server.start()
    eventually(lambda: httpx.get(url, headers=me).status_code == 200)
    with connect(server.url) as client:
        EventAppender(client).append("1", {"type": "done", "id": "a1"})
    eventually(lambda: httpx.get(url, headers=me).json()["status"] == "DONE", timeout=15)
    assert all(process.poll() is None for process in (*consumers, serving))


def test_flushed_redis__groups_are_made_again_and_new_events_flow(
    start: Start, servers: dict[str, str], redis_client: redis.Redis
) -> None:
    start("consume", "status", **servers)
    redis_client.xadd("tenant:1:events", {"event": b'{"type":"done","id":"a1"}'})
    eventually(lambda: redis_client.get("tenant:1:job:a1:status"))

    redis_client.flushall()
    redis_client.xadd("tenant:1:events", {"event": b'{"type":"done","id":"a2"}'}, id="5-1")

    eventually(lambda: redis_client.get("tenant:1:job:a2:status"), what="projected again")


def test_consumer_killed_with_deliveries_in_hand__another_takes_them_over(
    start: Start, redis_url: str, redis_client: redis.Redis, own_postgres: PostgresFactory
) -> None:
    postgres = own_postgres()
    settings = {
        "redis_url": redis_url,
        "database_url": postgres.url,
        "reclaim_idle_seconds": "0.5",
    }
    postgres.stop()
    first = start("consume", "rows", **settings)
    EventAppender(redis_client).append("1", {"type": "done", "id": "a1"})
    eventually(lambda: pending(redis_client, "1", "rows") == 1)

    first.kill()
    first.wait()
    postgres.start()
    start("consume", "rows", **settings)

    eventually(lambda: _rows(postgres) == 1, timeout=20)
    eventually(lambda: settled(redis_client, "1", "rows"))


def test_sigterm__consumer_leaves_no_name_behind(
    start: Start, servers: dict[str, str], redis_client: redis.Redis
) -> None:
    consumer = start("consume", "status", **servers)
    EventAppender(redis_client).append("1", {"type": "done", "id": "a1"})
    eventually(lambda: redis_client.get("tenant:1:job:a1:status"))
    eventually(lambda: settled(redis_client, "1", "status"))

    consumer.terminate()

    assert consumer.wait(ENDING) == 0
    assert redis_client.xinfo_consumers("tenant:1:events", "status") == []


def test_progress_document_is_what_old_readers_parse(
    start: Start, servers: dict[str, str], redis_client: redis.Redis
) -> None:
    start("consume", "status", **servers)
    EventAppender(redis_client).append(
        "1",
        {
            "type": "progress",
            "id": "a1",
            "step": "transcoding",
            "percent": 142,
            "step_index": 4,
            "step_total": 7,
            "step_name_display": "인코딩",
            "step_percent": 30,
            "remaining_seconds": 12,
            "extra": {"fps": 24},
        },
    )
    raw: Any = eventually(lambda: redis_client.get("tenant:1:job:a1:progress"))
    assert json.loads(raw) == {
        "step": "transcoding",
        "percent": 100,
        "step_index": 4,
        "step_total": 7,
        "step_name": "transcoding",
        "step_name_display": "인코딩",
        "step_percent": 30,
        "remaining_seconds": 12,
        "fps": 24,
    }

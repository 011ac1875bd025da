"""The doctor is green on a healthy deployment, and red with the right advice on a broken one."""

from __future__ import annotations

from contextlib import suppress

import psycopg
import redis

from consumers.groups import ConsumerGroup
from ops.doctor import examine
from ops.findings import Finding
from streams.settings import Settings
from tests.support.servers import PostgresFactory, RedisFactory


def findings(redis_url: str | None, database_url: str | None) -> dict[str, Finding]:
    settings = Settings(redis_url=redis_url, database_url=database_url)
    return {finding.check: finding for finding in examine(settings)}


def test_healthy_deployment_is_green(own_redis: RedisFactory, database_url: str) -> None:
    found = findings(own_redis(persist=True).url, database_url)
    assert [finding for finding in found.values() if not finding.ok] == []


def test_redis_that_forgets_and_evicts(own_redis: RedisFactory, database_url: str) -> None:
    server = own_redis(persist=False)
    with redis.Redis.from_url(server.url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    found = findings(server.url, database_url)
    assert not found["redis persistence"].ok
    assert "appendonly yes" in found["redis persistence"].advice
    assert not found["redis maxmemory-policy"].ok
    assert "noeviction" in found["redis maxmemory-policy"].advice


def test_group_that_does_not_keep_up(
    redis_url: str, redis_client: redis.Redis, database_url: str
) -> None:
    redis_client.xadd("tenant:42:events", {"event": b"{}"}, id="5-1")
    group = ConsumerGroup(redis_client, "status", "me")
    group.acknowledge(group.read(["42"], 10))
    found = findings(redis_url, database_url)
    assert found["lag of status"].ok
    assert not found["lag of rows"].ok
    assert "tenant 42" in found["lag of rows"].found


def test_group_that_holds_trimming_back_and_is_not_consumed(
    redis_url: str, redis_client: redis.Redis, database_url: str
) -> None:
    for position in ("5-1", "6-1"):
        redis_client.xadd("tenant:42:events", {"event": b"{}"}, id=position)
    redis_client.sadd("jobtrail:groups", "status", "rows", "audit")
    for name in ("status", "rows"):
        group = ConsumerGroup(redis_client, name, "me")
        group.acknowledge(group.read(["42"], 10))
    found = findings(redis_url, database_url)
    assert "audit (1 logs)" in found["trimming"].found
    assert "groups deregister" in found["trimming"].advice


def test_database_without_migrations_or_with_an_invalid_index(
    redis_url: str, own_postgres: PostgresFactory
) -> None:
    server = own_postgres()
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("DELETE FROM jobtrail_migrations WHERE name = '0002_stalled_jobs'")
        connection.execute("CREATE TABLE broken AS SELECT 1 AS n FROM generate_series(1, 2)")
        with suppress(psycopg.errors.UniqueViolation):
            connection.execute("CREATE UNIQUE INDEX CONCURRENTLY half_built ON broken (n)")
    found = findings(redis_url, server.url)
    assert "0002_stalled_jobs" in found["migrations"].found
    assert "jobtrail migrate" in found["migrations"].advice
    assert "half_built" in found["indexes"].found


def test_servers_away_or_unnamed_are_findings() -> None:
    found = findings("redis://127.0.0.1:1/0", None)
    assert not found["redis"].ok
    assert "JOBTRAIL_DATABASE_URL is not set" in found["postgres"].found

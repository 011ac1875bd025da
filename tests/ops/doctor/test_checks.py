"""The doctor's checks pass on a healthy deployment, and give advice for a broken one."""

from __future__ import annotations

import json
from contextlib import suppress

import psycopg
import pytest
import redis
from typer.testing import CliRunner

from consumers.delivery.groups import ConsumerGroup
from ops.cli import app
from ops.doctor.examination import examine
from ops.doctor.finding import Finding
from ops.doctor.redis_checks import version_verdict
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


def test_snapshots_alone_are_worth_a_warning(own_redis: RedisFactory, database_url: str) -> None:
    server = own_redis(persist=False)
    with redis.Redis.from_url(server.url) as client:
        client.config_set("save", "3600 1")
    found = findings(server.url, database_url)["redis persistence"]
    assert (found.ok, found.warns) == (True, True)


@pytest.mark.parametrize(
    ("info", "ok"),
    [
        ({"redis_version": "6.2.14"}, False),
        ({"redis_version": "7.0.0"}, True),
        ({"redis_version": "10.1.0"}, True),
        ({"redis_version": "7.2.4", "valkey_version": "7.1.9"}, False),
        ({"redis_version": "7.2.4", "valkey_version": "8.0.1"}, True),
    ],
)
def test_servers_of_a_version(info: dict[str, str], *, ok: bool) -> None:
    found = version_verdict(info)
    assert found.ok == ok
    assert "upgrade to 7." in found.advice


def test_dead_letters_are_told_by_tenant(
    redis_url: str, redis_client: redis.Redis, database_url: str
) -> None:
    for number, tenant in enumerate(["7", "42", "42"]):
        redis_client.xadd(f"tenant:{tenant}:dead", {"reason": b"not_json"}, id=f"5-{number + 1}")
    found = findings(redis_url, database_url)["dead letters"]
    assert not found.ok
    assert found.found == "3 entries of tenants 42 (2), 7 (1)"
    assert "jobtrail dead list" in found.advice


def test_roles_that_are_gone_or_may_not_read(redis_url: str, own_postgres: PostgresFactory) -> None:
    server = own_postgres()
    assert findings(redis_url, server.url)["reading roles"].ok
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("ALTER ROLE jobtrail_ops RENAME TO gone")
        connection.execute("REVOKE SELECT ON jobs FROM jobtrail_api")
    found = findings(redis_url, server.url)["reading roles"]
    assert not found.ok
    assert found.found == "jobtrail_api and jobtrail_ops cannot read"
    assert "GRANT SELECT" in found.advice


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("REVOKE INSERT ON {} FROM jobtrail_ops", "jobtrail_ops lacks INSERT on {}"),
        ("REVOKE SELECT ON {} FROM jobtrail_ops", "jobtrail_ops lacks SELECT on {}"),
        ("DROP POLICY add ON {}", "jobtrail_ops lacks INSERT on {}"),
        ("DROP POLICY read_all ON {}", "jobtrail_ops lacks SELECT on {}"),
        ("GRANT TRUNCATE ON {} TO jobtrail_ops", "jobtrail_ops has TRUNCATE on {}"),
        ("GRANT DELETE ON {} TO jobtrail_api", "jobtrail_api has DELETE on {}"),
    ],
)
def test_audit_log_that_cannot_be_written_or_can_be_changed(
    redis_url: str, database_url: str, statement: str, found: str
) -> None:
    assert findings(redis_url, database_url)["audit log"].ok
    tables = ("operator_actions", "operator_outcomes")
    with psycopg.connect(database_url, autocommit=True) as connection:
        for table in tables:
            connection.execute(statement.format(table).encode())
    audit = findings(redis_url, database_url)["audit log"]
    assert (audit.ok, audit.found) == (False, ", ".join(map(found.format, tables)))
    assert "REVOKE UPDATE" in audit.advice


def test_history_outside_of_its_weeks(redis_url: str, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO job_events_default (tenant, kind, id, event_id, day, entry_ms, entry_seq,"
            " type, attempt, at, event) VALUES ('7', 'job', 'a1', 'e1', '2200-01-01', 1, 1,"
            " 'done', 1, now(), '{}')"
        )
    found = findings(redis_url, database_url)["history partitions"]
    assert not found.ok
    assert "clocks are off" in found.advice


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


@pytest.mark.parametrize("others", [(), ("43",)], ids=["alone", "beside another"])
def test_tenant_that_is_refused_for_its_key__the_key_is_named(
    others: tuple[str, ...], redis_url: str, redis_client: redis.Redis, database_url: str
) -> None:
    for tenant in ("42", *others):
        redis_client.xadd(f"tenant:{tenant}:events", {"event": b"{}"}, id="5-1")
    redis_client.set("tenant:42:feed", "\x1b")
    redis_client.hset("tenant:42:job:a1:status", "x", "y")
    redis_client.set("tenant:42:job:dev:status", "{}")  # resembles an ending, and is right
    found = findings(redis_url, database_url)
    assert found["odd keys"].found == "tenant:42:feed (string), tenant:42:job:a1:status (hash)"
    for group in ("status", "rows"):
        advice = found[f"lag of {group}"].advice
        assert "tenant:42:feed (a string)" in advice
        assert "RENAME" in advice
        assert ("start more" in advice) == bool(others)


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
    assert "audit (1 stream)" in found["trimming"].found
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


def test_the_command_exits_by_what_it_found(own_redis: RedisFactory, database_url: str) -> None:
    server = own_redis(persist=True)
    environ = {"JOBTRAIL_REDIS_URL": server.url, "JOBTRAIL_DATABASE_URL": database_url}
    assert CliRunner().invoke(app, ["doctor"], env=environ).exit_code == 0
    with redis.Redis.from_url(server.url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    done = CliRunner().invoke(app, ["doctor", "--json"], env=environ)
    assert done.exit_code == 1
    wrong = [finding["check"] for finding in json.loads(done.stdout) if not finding["ok"]]
    assert wrong == ["redis maxmemory-policy"]


def test_settings_that_say_nonsense_are_findings() -> None:
    found = findings("nonsense", None)
    assert found["redis"].advice == found["postgres"].advice == "correct that setting"


def test_servers_away_or_unnamed_are_findings() -> None:
    found = findings("redis://127.0.0.1:1/0", None)
    assert not found["redis"].ok
    assert "JOBTRAIL_DATABASE_URL is not set" in found["postgres"].found

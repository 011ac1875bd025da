"""The lag of groups, which the command, the doctor, the console and the metrics show."""

from __future__ import annotations

import pytest
import redis

from consumers.delivery.groups import ConsumerGroup
from consumers.delivery.lag import Lag, lag, lag_of
from consumers.round_trips import server_ms
from streams.appender import EventAppender
from streams.keys import Keys

KEYS = Keys()
DONE = b'{"type":"done","id":"a1"}'


def append(client: redis.Redis, tenant: str, *ids: str) -> None:
    for entry_id in ids:
        client.xadd(KEYS.stream(tenant), {"event": DONE}, id=entry_id)


def status_of(client: redis.Redis, tenant: str) -> Lag:
    (found,) = lag_of(client, [tenant], ["status"], KEYS)
    return found


def test_what_is_waiting_and_pending_and_how_old(redis_client: redis.Redis) -> None:
    append(redis_client, "a", "1000-0", "2000-0", "3000-0", "4000-0")
    append(redis_client, "b", "9000-0")
    group = ConsumerGroup(redis_client, "status", "me")
    group.acknowledge(group.read(["a"], 1))
    group.read(["a"], 1)
    group.acknowledge(group.read(["b"], 1))
    before = server_ms(redis_client)
    found = list(lag(redis_client, ["status", "rows"]))
    assert [row[:4] for row in found] == [
        ("a", "status", 2, 1),
        ("a", "rows", 4, 0),
        ("b", "status", 0, 0),
        ("b", "rows", 1, 0),
    ]
    oldest = [2_000, 1_000, None, 9_000]
    ages = [0.0 if ms is None else (before - ms) / 1000 for ms in oldest]
    assert [row.oldest_age_seconds for row in found] == pytest.approx(ages, abs=60)


def test_a_tenant_without_a_stream_is_left_out(redis_client: redis.Redis) -> None:
    EventAppender(redis_client).append("a", DONE)
    found = lag_of(redis_client, ["none", "a"], ["status"], KEYS)
    assert [row.tenant for row in found] == ["a"]


def test_number_waiting_is_unknown_where_the_server_cannot_tell(redis_client: redis.Redis) -> None:
    append(redis_client, "a", "1000-0", "2000-0", "3000-0")
    group = ConsumerGroup(redis_client, "status", "me")
    group.acknowledge(group.read(["a"], 1))
    redis_client.xdel(KEYS.stream("a"), "2000-0")
    assert status_of(redis_client, "a").waiting is None
    redis_client.xdel(KEYS.stream("a"), "3000-0")
    assert status_of(redis_client, "a")[2:] == (0, 0, 0.0)


def test_round_trips_are_few_however_many_tenants_are_behind(redis_client: redis.Redis) -> None:
    tenants = [f"t{number}" for number in range(1_200)]
    EventAppender(redis_client).append_many((tenant, DONE) for tenant in tenants)
    ConsumerGroup(redis_client, "status", "me").read(tenants, 1)
    before = redis_client.info("stats")["total_reads_processed"]
    assert len(list(lag(redis_client, ["status", "rows"]))) == 2 * len(tenants)
    assert redis_client.info("stats")["total_reads_processed"] - before < 100

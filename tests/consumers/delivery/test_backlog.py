"""The backlog of a group, with no consumer running."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from consumers.delivery.backlog import PAGE, PAGES, Backlog, backlog

MILLION = 1_000_000
APPEND = """
for _ = 1, tonumber(ARGV[1]) do redis.call('XADD', KEYS[1], '*', 'event', '{}') end
"""


def append(client: redis.Redis, count: int, tenant: str = "42") -> str:
    stream = f"tenant:{tenant}:events"
    client.eval(APPEND, 1, stream, str(count))
    return stream


def of_status(client: redis.Redis) -> Backlog:
    return backlog(client, ["status", "rows"])["status"]


def read(client: redis.Redis, stream: str, count: int) -> list[Any]:
    found: Any = client.xreadgroup("status", "one", {stream: ">"}, count=count)
    ((_, entries),) = found
    return [entry_id for entry_id, _ in entries]


def test_no_stream(redis_client: redis.Redis) -> None:
    assert of_status(redis_client) == Backlog(0, 0)


@pytest.mark.parametrize("count", [1, MILLION])
def test_entries_count_before_there_is_a_group(redis_client: redis.Redis, count: int) -> None:
    stream = append(redis_client, count)
    assert of_status(redis_client) == Backlog(count, 0)
    redis_client.xgroup_create(stream, "status", "0")
    assert of_status(redis_client) == Backlog(count, 0)
    assert backlog(redis_client, ["rows"])["rows"] == Backlog(count, 0)


def test_delivered_and_settled_entries(redis_client: redis.Redis) -> None:
    stream = append(redis_client, 10)
    redis_client.xgroup_create(stream, "status", "0")
    ids = read(redis_client, stream, 6)
    assert of_status(redis_client) == Backlog(4, 6)
    redis_client.xack(stream, "status", *ids)
    assert of_status(redis_client) == Backlog(4, 0)
    append(redis_client, 3, tenant="43")
    assert of_status(redis_client) == Backlog(7, 0)


def test_after_trimming(redis_client: redis.Redis) -> None:
    stream = append(redis_client, 100)
    redis_client.xgroup_create(stream, "status", "0")
    ids = read(redis_client, stream, 60)
    redis_client.xack(stream, "status", *ids)
    redis_client.xtrim(stream, minid=ids[-1].decode(), approximate=False)
    assert of_status(redis_client) == Backlog(40, 0)
    ids = read(redis_client, stream, 100)
    redis_client.xack(stream, "status", *ids)
    redis_client.xtrim(stream, maxlen=0, approximate=False)
    assert of_status(redis_client) == Backlog(0, 0)
    append(redis_client, 1)
    assert of_status(redis_client) == Backlog(1, 0)
    redis_client.xgroup_destroy(stream, "status")
    assert of_status(redis_client) == Backlog(1, 0)


@pytest.mark.parametrize("left", [0, 7, PAGE * PAGES])
def test_lag_that_the_server_does_not_know_is_counted(redis_client: redis.Redis, left: int) -> None:
    stream = append(redis_client, left + 20)
    found: Any = redis_client.xrange(stream, count=20)
    redis_client.xgroup_create(stream, "status", found[-1][0])
    redis_client.xdel(stream, found[5][0])
    (group,) = redis_client.xinfo_groups(stream)
    waiting = of_status(redis_client).waiting
    assert waiting == (left if left < PAGE * PAGES else left + 19), group


def test_key_that_is_no_stream_counts_nothing(redis_client: redis.Redis) -> None:
    redis_client.set("tenant:42:events", "x")
    append(redis_client, 2, tenant="43")
    assert of_status(redis_client) == Backlog(2, 0)

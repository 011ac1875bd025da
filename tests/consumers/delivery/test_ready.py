from __future__ import annotations

import threading
import time

import redis

from consumers.delivery.ready import ReadyQueue
from streams.appender import EventAppender
from streams.connection import connect
from tests.support.waiting import eventually

DONE = {"type": "done", "id": "a1"}


def queue(client: redis.Redis, lease_seconds: float = 30) -> ReadyQueue:
    return ReadyQueue(client, "status", lease_seconds=lease_seconds)


def test_take_gives_marked_tenants_longest_marked_first(client: redis.Redis) -> None:
    client.zadd("jobtrail:ready:status", {"late": 30, "early": 10, "middle": 20})
    assert queue(client).take(2, 0).tenants == ["early", "middle"]
    assert queue(client).take(2, 0).tenants == ["late"]
    assert queue(client).take(2, 0).tenants == []


def test_append_marks_once_and_the_earliest_mark_stands(client: redis.Redis) -> None:
    client.zadd("jobtrail:ready:status", {"42": 5})
    EventAppender(client).append("42", DONE)
    assert client.zscore("jobtrail:ready:status", "42") == 5


def test_drained_tenant_is_neither_ready_nor_leased(client: redis.Redis) -> None:
    ready = queue(client)
    EventAppender(client).append("42", DONE)
    ready.finish(ready.take(10, 0), more=[])
    assert client.zcard("jobtrail:ready:status") == client.zcard("jobtrail:leased:status") == 0


def test_tenant_with_more_goes_to_the_tail(client: redis.Redis) -> None:
    ready = queue(client)
    client.zadd("jobtrail:ready:status", {"busy": 1, "quiet": 2})
    lease = ready.take(1, 0)
    ready.finish(lease, more=["busy"])
    assert ready.take(1, 0).tenants == ["quiet"]
    assert ready.take(1, 0).tenants == ["busy"]


def test_tenant_marked_while_leased_stays_marked(client: redis.Redis) -> None:
    ready = queue(client)
    EventAppender(client).append("42", DONE)
    lease = ready.take(10, 0)
    EventAppender(client).append("42", DONE)
    ready.finish(lease, more=[])
    assert ready.take(10, 0).tenants == ["42"]


def test_lease_that_somebody_else_took_over_is_left_to_them(client: redis.Redis) -> None:
    first, second = queue(client, lease_seconds=10), queue(client, lease_seconds=20)
    EventAppender(client).append("42", DONE)
    old = first.take(10, 0)
    EventAppender(client).append("42", DONE)
    new = second.take(10, 0)
    first.finish(old, more=[])
    assert client.zscore("jobtrail:leased:status", "42") == new.parts[0].expires


def test_lease_of_a_crashed_consumer_runs_out(client: redis.Redis) -> None:
    EventAppender(client).append("42", DONE)
    assert queue(client, lease_seconds=0.05).take(10, 0).tenants == ["42"]
    eventually(lambda: queue(client).take(10, 0).tenants == ["42"])


def test_scripts_vanish_at_restart__they_are_loaded_again(redis_client: redis.Redis) -> None:
    ready = queue(redis_client)
    ready.take(1, 0)
    redis_client.script_flush()
    EventAppender(redis_client).append("42", DONE)
    assert ready.take(1, 0).tenants == ["42"]


def test_waiting_consumer_is_woken_by_an_append(redis_url: str) -> None:
    taken: list[str] = []
    with connect(redis_url) as mine, connect(redis_url) as other:
        waiting = threading.Thread(target=lambda: taken.extend(queue(mine).take(10, 4.0).tenants))
        waiting.start()
        eventually(lambda: other.info("clients")["blocked_clients"] == 1)
        began = time.monotonic()
        EventAppender(other).append("42", DONE)
        waiting.join()
    assert taken == ["42"]
    assert time.monotonic() - began < 3.0  # woken, not timed out

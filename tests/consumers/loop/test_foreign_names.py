"""A stream whose name is in another encoding delays no other."""

from __future__ import annotations

import threading

import redis

from streams.connection import connect
from tests.consumers.loop.test_runner import Recording, append, consumer
from tests.support.waiting import eventually


def test_stream_named_in_another_encoding_is_dead_lettered(
    redis_client: redis.Redis, redis_url: str
) -> None:
    redis_client.xadd(b"tenant:\xff:events", {"event": b'{"type":"done","id":"a1"}'})
    append(redis_client, "a2")
    projection, stop = Recording(), threading.Event()
    with connect(redis_url) as mine:
        running = threading.Thread(target=consumer(mine, projection).run, args=(stop,))
        running.start()
        eventually(lambda: redis_client.xlen(b"tenant:\xff:dead") == 1)
        eventually(lambda: projection.applied == ["a2"])
        stop.set()
        running.join(10)
    assert not running.is_alive()


def test_group_named_in_another_encoding_stops_nothing(
    redis_client: redis.Redis, redis_url: str
) -> None:
    append(redis_client, "a1")
    redis_client.xgroup_create("tenant:42:events", b"\xff", "0")
    projection, stop = Recording(), threading.Event()
    with connect(redis_url) as mine:
        running = threading.Thread(target=consumer(mine, projection).run, args=(stop,))
        running.start()
        eventually(lambda: projection.applied == ["a1"])
        redis_client.xadd("tenant:42:events", {"event": b'{"type":"done","id":"a2"}'})
        eventually(lambda: projection.applied == ["a1", "a2"])  # only the sweep can find it
        stop.set()
        running.join(10)
    assert not running.is_alive()

"""Requeueing a dead letter whose event a newer version understands."""

from __future__ import annotations

import threading

import pytest
import redis

from consumers.dead_letters.store import DeadLetterStore
from streams import events
from streams.appender import EventAppender
from tests.consumers.loop.test_runner import Recording, consumer
from tests.support.groups import entries, settled

GOOD = 10_000


def test_event_of_a_newer_version_among_ten_thousand_is_applied_once_it_is_understood(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [f"a{number}" for number in range(GOOD)]
    appender = EventAppender(redis_client)
    appender.append_many(("42", {"type": "done", "id": id_}) for id_ in ids[: GOOD // 2])
    newer = b'{"v":2,"type":"done","id":"newer","event_id":"e1"}'
    redis_client.xadd("tenant:42:events", {"event": newer})
    appender.append_many(("42", {"type": "done", "id": id_}) for id_ in ids[GOOD // 2 :])
    projection, stop = Recording(), threading.Event()
    me = consumer(redis_client, projection)
    while not settled(redis_client, "42", "status"):
        me.turn(stop)
    assert projection.applied == ids
    assert len(projection.batches) <= GOOD // 500  # it cost its neighbours no split
    (letter,) = entries(redis_client, "tenant:42:dead")
    assert (letter["reason"], letter["event"]) == (b"unsupported_version", newer)

    monkeypatch.setattr(events, "VERSION", 2)
    dead_letters = DeadLetterStore(redis_client)
    for each in list(dead_letters.letters("42")):
        assert dead_letters.requeue(each) is not None
    while not settled(redis_client, "42", "status"):
        me.turn(stop)

    assert projection.applied == [*ids, "newer"]
    assert redis_client.xlen("tenant:42:dead") == 0
    assert entries(redis_client, "tenant:42:events")[-1]["event"] == newer

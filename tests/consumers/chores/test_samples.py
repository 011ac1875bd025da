from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
import redis

from consumers.chores import heartbeat, samples
from consumers.chores.activity import Counted, Tally, per_minute
from consumers.chores.heartbeat import Heartbeat, heartbeats
from consumers.dead_letters.store import DeadLetterStore
from consumers.dead_letters.writer import DeadLetterWriter
from consumers.delivery.groups import ConsumerGroup
from consumers.round_trips import server_ms
from ops.operator_view import RedisOperatorView
from projections.decoding import Entry, decode
from streams.appender import EventAppender
from streams.connection import connect
from streams.entry_ids import EntryId
from streams.keys import Keys
from tests.support.members import Member
from tests.support.servers import RedisFactory

KEYS = Keys()
DONE = b'{"type":"done","id":"a1"}'


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Nothing:
    def apply(self, entries: Sequence[Entry]) -> None:
        """Store no effect."""


def entries(tenant: str, count: int) -> list[Entry]:
    return [decode(tenant, EntryId(n + 1, 0), [b"event", DONE]) for n in range(count)]


def taken(client: redis.Redis) -> list[dict[str, Any]]:
    return [json.loads(text) for text in client.lrange(KEYS.samples(), 0, -1)]


def test_a_beat_describes_its_consumer_and_adds_what_was_applied(redis_client: redis.Redis) -> None:
    tally = Tally()
    counted, part = Counted(Nothing(), tally), Member(redis_client, tally=tally)
    counted.apply(entries("42", 3) + entries("43", 2))
    part.run()
    counted.apply(entries("42", 4))
    part.run()
    assert redis_client.hget(KEYS.applied(), "status") == b"9"
    assert redis_client.zscore(KEYS.activity("status"), "42") == 7
    assert redis_client.zscore(KEYS.activity("status"), "43") == 2
    (beat,) = heartbeats(redis_client, KEYS)
    assert (beat["group"], beat["name"], beat["applied"]) == ("status", "one", 9)


def test_what_a_batch_that_failed_would_have_applied_is_not_counted() -> None:
    class Fails:
        def apply(self, entries: Sequence[Entry]) -> None:
            raise redis.ConnectionError

    tally = Tally()
    with pytest.raises(redis.ConnectionError):
        Counted(Fails(), tally).apply(entries("42", 3))
    assert tally.total == 0


def test_totals_go_on_growing_when_a_consumer_is_replaced(redis_client: redis.Redis) -> None:
    for name in ("one", "two"):
        tally = Tally()
        tally.add(entries("42", 5))
        part = Member(redis_client, name, tally)
        part.run()
        part.leave()
    assert [sample["groups"]["status"]["applied"] for sample in taken(redis_client)] == [5, 10]
    assert all(each["left"] for each in heartbeats(redis_client, KEYS))


def test_one_consumer_takes_the_samples_and_another_follows_it(redis_client: redis.Redis) -> None:
    one, two = Member(redis_client, "one"), Member(redis_client, "two")
    one.run()
    two.run()
    assert len(taken(redis_client)) == 1
    one.leave()
    two.run()
    assert len(taken(redis_client)) == 2


def test_a_sample_says_how_far_each_group_is_behind(redis_client: redis.Redis) -> None:
    appender = EventAppender(redis_client)
    appender.append_many([("42", DONE), ("42", DONE), ("42", DONE), ("43", DONE)])
    group = ConsumerGroup(redis_client, "status", "me")
    group.acknowledge(group.read(["42"], 1))
    group.read(["42"], 1)
    Member(redis_client).run()
    (sample,) = taken(redis_client)
    assert {name: (at["waiting"], at["pending"]) for name, at in sample["groups"].items()} == {
        "status": (2, 1),
        "rows": (4, 0),
    }
    assert sample["groups"]["status"]["oldest_ms"] <= sample["at"]
    behind = json.loads(redis_client.get(KEYS.behind()) or b"")
    assert sorted(behind["tenants"]) == ["42", "43"]


def test_a_stream_that_was_settled_since_counts_no_more(redis_client: redis.Redis) -> None:
    EventAppender(redis_client).append("42", DONE)
    part = Member(redis_client)
    part.run()
    for name in ("status", "rows"):
        group = ConsumerGroup(redis_client, name, "me")
        group.acknowledge(group.read(["42"], 9))
        redis_client.delete(KEYS.ready(name))
    part.run()
    first, last = (sample["groups"]["rows"] for sample in taken(redis_client))
    assert (first["waiting"], last["waiting"], last["oldest_ms"]) == (1, 0, None)


def test_more_busy_streams_than_a_sample_looks_at_are_looked_at_in_turn(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "MAX_EXAMINED", 3)
    EventAppender(redis_client).append_many((f"t{n}", DONE) for n in range(5))
    part = Member(redis_client)
    part.run()
    part.run()
    known = [sample["groups"]["rows"]["waiting"] for sample in taken(redis_client)]
    assert known == [3, 5]


def test_samples_are_kept_for_an_hour(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "MAX_SAMPLES", 4)
    part = Member(redis_client)
    for _ in range(7):
        part.run()
    assert len(taken(redis_client)) == 4
    assert 0 < redis_client.ttl(KEYS.samples()) <= samples.EXPIRE_SECONDS


def test_activity_fades_and_is_forgotten(redis_client: redis.Redis) -> None:
    clock, tally = Clock(), Tally()
    part = Member(redis_client, tally=tally, clock=clock)
    tally.add(entries("busy", 1_000) + entries("once", 1))
    minutes = 0
    while redis_client.zscore(KEYS.activity("status"), "once") is not None or not minutes:
        minutes += 1
        clock.now += 61
        part.run()
    assert 5 < minutes < 15
    score = redis_client.zscore(KEYS.activity("status"), "busy")
    assert score is not None
    assert 0 < score < 300


def test_steady_work_shows_as_so_many_entries_a_minute(redis_client: redis.Redis) -> None:
    clock, tally = Clock(), Tally()
    part = Member(redis_client, tally=tally, clock=clock)
    for _ in range(40):
        tally.add(entries("42", 60))
        clock.now += 61
        part.run()
    score = redis_client.zscore(KEYS.activity("status"), "42")
    assert per_minute(float(score or 0)) == pytest.approx(60, rel=0.25)


def test_tenants_with_dead_letters_are_noted_and_forgotten(redis_client: redis.Redis) -> None:
    redis_client.xadd("tenant:42:events", {"event": b"no json"})
    group = ConsumerGroup(redis_client, "status", "me")
    (delivery,) = group.read(["42"], 1)
    DeadLetterWriter(redis_client, "status").write(delivery, "not_json", "it is none")
    assert redis_client.zrange(KEYS.dead_tenants(), 0, -1) == [b"42"]
    part = Member(redis_client)
    part.run()
    assert redis_client.zrange(KEYS.dead_tenants(), 0, -1) == [b"42"]
    redis_client.delete("tenant:42:dead")
    part.run()
    assert redis_client.zcard(KEYS.dead_tenants()) == 0


def test_the_minutes_of_tenants_show_what_each_of_them_applied(redis_client: redis.Redis) -> None:
    clock, tally = Clock(), Tally()
    part = Member(redis_client, tally=tally, clock=clock)
    view = RedisOperatorView(redis_client, DeadLetterStore(redis_client))
    for count in (60, 60, 6_000, 60, 60):
        tally.add(entries("steady", 60) + entries("42", count))
        clock.now += 61
        part.run()
    texts = redis_client.lrange(KEYS.tenant_minutes(), 0, -1)
    # As if they were a minute apart.
    minutes = [json.loads(text) | {"at": number * 60_000} for number, text in enumerate(texts)]
    redis_client.delete(KEYS.tenant_minutes())
    redis_client.rpush(KEYS.tenant_minutes(), *map(json.dumps, minutes))
    found = [minute["per_minute"] for minute in view.tenant_minutes()]
    assert [round(each["42"]) for each in found] == [60, 6_000, 60, 60]
    assert [round(each["steady"]) for each in found] == [60] * 4


def test_a_sample_names_how_many_tenants_are_behind_and_the_furthest(
    redis_client: redis.Redis,
) -> None:
    now = server_ms(redis_client)
    for number in range(60):
        tenant, age = f"t{number:02}", 6_000 + number * 1_000
        redis_client.xadd(KEYS.stream(tenant), {"event": DONE}, id=f"{now - age}-0")
        redis_client.zadd(KEYS.ready("rows"), {tenant: 1})
    EventAppender(redis_client).append("new", DONE)
    Member(redis_client).run()
    (sample,) = taken(redis_client)
    rows = sample["groups"]["rows"]
    assert (rows["behind"], rows["furthest"]) == (60, "t59")
    behind = json.loads(redis_client.get(KEYS.behind()) or b"")
    assert (behind["count"], len(behind["tenants"])) == (60, 61)
    assert behind["tenants"][:2] == ["t59", "t58"]


def test_a_group_is_missed_from_the_second_sample_without_a_consumer(
    redis_client: redis.Redis,
) -> None:
    part = Member(redis_client)
    for _ in range(3):
        part.run()
    assert [sample["missing"] for sample in taken(redis_client)] == [[], ["rows"], ["rows"]]
    Member(redis_client, "another").run()
    rows = Heartbeat(redis_client, "rows", "new", Tally())
    rows.run()
    part.run()
    assert taken(redis_client)[-1]["missing"] == []
    rows.leave()
    for _ in range(2):
        part.run()
    assert taken(redis_client)[-1]["missing"] == ["rows"]


def test_a_sample_counts_dead_letters_and_refused_writes(open_redis: RedisFactory) -> None:
    server = open_redis(persist=False)
    with connect(server.url) as client:
        client.xadd("tenant:42:dead", {"event": b"x", "reason": b"not_json"})
        part = Member(client)
        part.run()
        part.run()
        client.config_set("maxmemory", "1")
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            client.set("x", "y")
        client.config_set("maxmemory", "0")
        part.run()
        before, after = taken(client)[-2:]
        assert (before["dead"], after["dead"]) == (1, 1)
        assert after["refused"] > before["refused"]
        view = RedisOperatorView(client, DeadLetterStore(client))
        assert {each["cause"] for each in view.issues()} >= {"refused", "dead"}


def test_dead_letters_that_nobody_noted_are_found(redis_client: redis.Redis) -> None:
    redis_client.xadd("tenant:old:dead", {"event": b"x", "reason": b"not_json"})
    Member(redis_client).run()
    assert redis_client.zrange(KEYS.dead_tenants(), 0, -1) == [b"old"]


def test_a_consumer_that_is_silent_for_long_is_forgotten(redis_client: redis.Redis) -> None:
    Member(redis_client, "killed").run()
    field = "status/killed"
    beat = json.loads(redis_client.hget(KEYS.beats(), field) or b"")
    silent = beat | {"beat": beat["beat"] - heartbeat.SILENT_MS - 1}
    redis_client.hset(KEYS.beats(), field, json.dumps(silent))
    redis_client.delete(KEYS.sampler())
    Member(redis_client, "alive").run()
    assert [each["name"] for each in heartbeats(redis_client, KEYS)] == ["alive"]

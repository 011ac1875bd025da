from __future__ import annotations

from collections.abc import Sequence
from threading import Event

import pytest
import redis

from consumers.chores.sweep.chore import CHECKED_AT_ONCE, STALE_AT_ONCE, Sweep
from consumers.composition import build
from consumers.delivery.groups import ConsumerGroup
from consumers.loop.read_ahead import MAX_TENANTS
from streams import wire
from streams.settings import Settings
from tests.support.waiting import eventually

EVENT = {"event": b'{"type":"done","id":"a1"}'}


def sweep(client: redis.Redis, consumer: str = "me", idle: float = 30) -> Sweep:
    return Sweep(client, "status", consumer, reclaim_idle_seconds=idle)


def marked(client: redis.Redis, group: str) -> list[bytes]:
    found: list[bytes] = client.zrange(f"jobtrail:ready:{group}", 0, -1)  # type: ignore[assignment]
    return found


def test_raw_entry_marks_its_tenant_for_all_groups(client: redis.Redis) -> None:
    client.xadd("tenant:42:events", EVENT)  # type: ignore[arg-type]
    client.sadd("jobtrail:groups", "audit")
    sweep(client).run()
    assert [marked(client, group) for group in ("status", "rows", "audit")] == [[b"42"]] * 3


def test_other_keys_are_no_streams(client: redis.Redis) -> None:
    client.set("tenant:42:events", "not a stream")
    client.xadd("tenant:42:dead", EVENT)  # type: ignore[arg-type]
    sweep(client).run()
    assert marked(client, "status") == []


def test_settled_stream_is_not_marked_again(client: redis.Redis) -> None:
    client.xadd("tenant:42:events", EVENT)  # type: ignore[arg-type]
    one = sweep(client)
    one.run()
    for name in ("status", "rows"):
        group = ConsumerGroup(client, name, "me")
        group.acknowledge(group.read(["42"], 10))
        client.delete(f"jobtrail:ready:{name}")
    one.run()
    one.run()
    assert marked(client, "status") == marked(client, "rows") == []


def test_lost_mark_of_a_known_stream_is_set_again(client: redis.Redis) -> None:
    client.xadd("tenant:42:events", EVENT)  # type: ignore[arg-type]
    one = sweep(client)
    one.run()
    client.delete("jobtrail:ready:status")
    one.run()
    assert marked(client, "status") == [b"42"]


def test_only_one_consumer_sweeps(client: redis.Redis) -> None:
    first, second = sweep(client, "first"), sweep(client, "second")
    first.run()
    client.xadd("tenant:42:events", EVENT)  # type: ignore[arg-type]
    second.run()
    assert marked(client, "status") == []
    first.run()
    assert marked(client, "status") == [b"42"]


def test_after_a_flush_entries_with_lower_ids_are_found(client: redis.Redis) -> None:
    client.xadd("tenant:42:events", EVENT)  # type: ignore[arg-type]
    one = sweep(client)
    one.run()
    client.flushall()
    client.xadd("tenant:42:events", EVENT, id="1-1")  # type: ignore[arg-type]
    one.run()
    assert marked(client, "status") == [b"42"]


def test_old_deliveries_are_given_to_their_group(redis_client: redis.Redis) -> None:
    redis_client.xadd("tenant:42:events", EVENT)  # type: ignore[arg-type]
    ConsumerGroup(redis_client, "rows", "dead").read(["42"], 10)
    one = sweep(redis_client, idle=0.01)

    def given() -> bool:
        one.run()
        return redis_client.zcard("jobtrail:stale:rows") == 1

    eventually(given)
    assert one.take_stale() == []
    assert Sweep(redis_client, "rows", "me").take_stale() == ["42"]


def test_very_many_new_streams__delay_no_known_one_and_not_the_last_of_them(
    redis_client: redis.Redis,
) -> None:
    redis_client.xadd("tenant:known:events", EVENT)  # type: ignore[arg-type]
    one = sweep(redis_client)
    one.run()
    for name in ("status", "rows"):
        group = ConsumerGroup(redis_client, name, "me")
        group.acknowledge(group.read(["known"], 10))
        redis_client.delete(f"jobtrail:ready:{name}")
    with redis_client.pipeline(transaction=False) as pipeline:
        for number in range(5_000):
            pipeline.xadd(f"tenant:new{number}:events", EVENT)  # type: ignore[arg-type]
        pipeline.execute()
    redis_client.xadd("tenant:known:events", EVENT)  # type: ignore[arg-type]
    one.run()
    found = marked(redis_client, "status")
    assert b"known" in found
    assert (
        CHECKED_AT_ONCE // 2 <= len(found) <= 2 * CHECKED_AT_ONCE
    )  # more wait until consumers have taken these
    one.check_more()
    assert len(marked(redis_client, "status")) == len(found)
    for _ in range(5_000 // CHECKED_AT_ONCE + 2):
        for name in ("status", "rows"):
            redis_client.delete(f"jobtrail:ready:{name}")
        one.check_more()
        found += marked(redis_client, "status")
    assert set(found) == {b"known", *(b"new%d" % number for number in range(5_000))}


def test_very_many_new_streams__another_tenants_raw_entry_waits_for_one_bounded_part_of_them(
    redis_client: redis.Redis,
) -> None:
    """The part is CHECKED_AT_ONCE streams and a batch; it is the same with 50,000 new streams."""
    consumer, stop = build("status", Settings(redis_url="unused"), redis_client, "me"), Event()

    def apply_one(job_id: str) -> None:
        redis_client.xadd("tenant:known:events", {"event": f'{{"type":"done","id":"{job_id}"}}'})
        consumer._sweep.timer.set(0)  # the interval's end is not waited for
        while not redis_client.exists(f"tenant:known:job:{job_id}:status"):
            consumer.turn(stop)

    apply_one("first")
    with redis_client.pipeline(transaction=False) as pipeline:
        for number in range(4_000):
            pipeline.xadd(f"tenant:new{number}:events", EVENT)  # type: ignore[arg-type]
        pipeline.execute()
    for number in range(2):
        before = new_documents(redis_client)
        apply_one(f"a{number}")
        assert (
            new_documents(redis_client) - before <= CHECKED_AT_ONCE + 3 * MAX_TENANTS
        )  # one in hand, one read ahead


def test_many_streams_are_checked_in_few_round_trips(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine each round trip waits: one for each stream would take seconds."""
    for number in range(CHECKED_AT_ONCE):
        redis_client.xadd(f"tenant:new{number}:events", EVENT)  # type: ignore[arg-type]
        ConsumerGroup(redis_client, "status", "gone").read([f"new{number}"], 1)  # pending
    trips = 0

    class Counted(wire.PendingReplies):
        def __init__(
            self, client: redis.Redis, commands: Sequence[wire.Command], *, partial: bool = False
        ) -> None:
            nonlocal trips
            trips += 1
            super().__init__(client, commands, partial=partial)

    monkeypatch.setattr(wire, "PendingReplies", Counted)
    one = sweep(redis_client, idle=0)
    one.run()
    assert len(one.take_stale()) == STALE_AT_ONCE
    assert len(marked(redis_client, "rows")) == CHECKED_AT_ONCE
    assert 0 < trips < 40


def test_long_sweep_leaves_as_much_time_for_the_queues(redis_client: redis.Redis) -> None:
    now = 0.0

    def slow() -> float:
        nonlocal now
        now += 0.5
        return now

    one = Sweep(redis_client, "status", "me", clock=slow)
    one.run()
    assert not one.due()


def test_long_sweep_stays_elected(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = sweep(redis_client)
    monkeypatch.setattr(
        one._known, "discover", lambda _: redis_client.pexpire("jobtrail:sweeper", 500)
    )
    one.run()
    assert redis_client.pttl("jobtrail:sweeper") > 1_000


def new_documents(client: redis.Redis) -> int:
    return sum(1 for _ in client.scan_iter("tenant:new*:status", 1_000))


def test_key_that_is_a_stream_no_more__stops_no_other(redis_client: redis.Redis) -> None:
    for tenant in ("1", "2"):
        redis_client.xadd(f"tenant:{tenant}:events", EVENT)  # type: ignore[arg-type]
    one = sweep(redis_client)
    one.run()
    redis_client.set("tenant:1:events", "odd")
    redis_client.delete("jobtrail:ready:status")
    redis_client.xadd("tenant:2:events", EVENT)  # type: ignore[arg-type]
    one.run()
    assert marked(redis_client, "status") == [b"2"]

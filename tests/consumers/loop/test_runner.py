"""Turns of a consumer with good batches, bad entries and outages."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import psycopg
import pytest
import redis

from consumers import metrics
from consumers.chores.sweep.chore import Sweep
from consumers.dead_letters.writer import DeadLetterWriter
from consumers.delivery.deliveries import Delivery
from consumers.delivery.groups import ConsumerGroup
from consumers.delivery.read_requests import ReadRequest, Received
from consumers.delivery.ready import ReadyQueue
from consumers.loop.read_ahead import BATCH
from consumers.loop.runner import Consumer
from projections.decoding import Entry
from streams.appender import EventAppender
from streams.cluster import PartlyStored
from streams.connection import connect
from tests.support.groups import entries, pending, settled
from tests.support.waiting import eventually


class Recording:
    """A projection that records what it applies and can raise errors."""

    def __init__(self, fail: Callable[[Sequence[Entry]], None] = lambda _: None) -> None:
        self.fail = fail
        self.applied: list[str] = []
        self.batches: list[int] = []

    def apply(self, entries: Sequence[Entry]) -> None:
        self.fail(entries)
        self.batches.append(len(entries))
        self.applied += [entry.event.id for entry in entries]


def consumer(
    client: redis.Redis,
    projection: Recording,
    name: str = "me",
    idle: float = 30,
    batch_entries: int = BATCH,
) -> Consumer:
    return Consumer(
        group=ConsumerGroup(client, "status", name),
        projection=projection,
        ready=ReadyQueue(client, "status"),
        dead_letters=DeadLetterWriter(client, "status"),
        sweep=Sweep(client, "status", name, reclaim_idle_seconds=idle),
        reclaim_idle_seconds=idle,
        batch_entries=batch_entries,
    )


def append(client: redis.Redis, *ids: str, tenant: str = "42") -> None:
    EventAppender(client).append_many((tenant, {"type": "done", "id": id_}) for id_ in ids)


def test_poison_is_split_off_until_it_stands_alone(redis_client: redis.Redis) -> None:
    def fail(batch: Sequence[Entry]) -> None:
        if any(entry.event.id == "poison" for entry in batch):
            raise ValueError("no such thing")

    projection = Recording(fail)
    append(redis_client, *(f"a{number}" for number in range(100)), "poison", "b1")
    consumer(redis_client, projection).turn(threading.Event())
    assert sorted(projection.applied) == sorted([*(f"a{number}" for number in range(100)), "b1"])
    (letter,) = entries(redis_client, "tenant:42:dead")
    assert letter["reason"] == b"cannot_be_applied"
    assert b"no such thing" in letter["detail"]
    assert pending(redis_client, "42", "status") == 0


@pytest.mark.parametrize(
    "outage",
    [
        psycopg.OperationalError("the connection is closed"),
        psycopg.errors.UndefinedTable("migrations are missing"),
        psycopg.errors.SerializationFailure("try again"),
        redis.ConnectionError("refused"),
        redis.ResponseError("OOM command not allowed"),
        redis.exceptions.ReadOnlyError("a replica"),
        OSError("no route"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_outage_is_waited_out_and_costs_no_delivery(
    redis_client: redis.Redis, outage: Exception
) -> None:
    failures = iter([outage, outage])

    def fail(_: Sequence[Entry]) -> None:
        for error in failures:
            raise error

    projection = Recording(fail)
    append(redis_client, "a1")
    waits = _Waits()
    consumer(redis_client, projection).turn(waits)
    assert projection.applied == ["a1"]
    assert waits.seconds == [0.1, 0.2]
    assert redis_client.xlen("tenant:42:dead") == 0


def test_odd_key_of_one_tenant_in_a_partly_stored_batch__concerns_only_its_entries(
    redis_client: redis.Redis,
) -> None:
    """Not an outage, which would make the group wait for ever for all tenants."""
    wrong_type = redis.ResponseError("WRONGTYPE Operation against a key of another type")

    def fail(batch: Sequence[Entry]) -> None:
        if any(entry.tenant == "odd" for entry in batch):
            raise PartlyStored({"odd": wrong_type})

    projection = Recording(fail)
    append(redis_client, "a1", "a2")
    append(redis_client, "b1", tenant="odd")
    waits = _Waits()
    worker = consumer(redis_client, projection)
    worker.turn(waits)
    worker.turn(waits)
    assert sorted(projection.applied) == ["a1", "a2"]
    (letter,) = entries(redis_client, "tenant:odd:dead")
    assert letter["reason"] == b"cannot_be_applied"
    assert waits.seconds == []


def test_keep__during_a_long_attempt__batch_and_batch_ahead_are_renewed(
    redis_client: redis.Redis,
) -> None:
    idle_ms: list[int] = []

    def in_memory() -> list[dict[str, Any]]:
        found: Any = redis_client.xpending_range("tenant:42:events", "status", "-", "+", 10)
        return list(found)

    def work_long(_: Sequence[Entry]) -> None:
        eventually(lambda: len(in_memory()) == 2, what="the batch ahead at the consumer")
        ids = [row["message_id"] for row in in_memory()]
        redis_client.xclaim("tenant:42:events", "status", "me", 0, ids, idle=60_000, justid=True)
        me.keep()
        idle_ms.extend(row["time_since_delivered"] for row in in_memory())

    me = consumer(redis_client, Recording(work_long), idle=0, batch_entries=1)
    append(redis_client, "a1", "a2")
    me.turn(threading.Event())
    assert len(idle_ms) == 2
    assert max(idle_ms) < 60_000


def test_keep__error_of_the_batch__the_batch_ahead_is_renewed(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    renewed: list[bytes] = []

    def renew(deliveries: Sequence[Delivery]) -> None:
        renewed.extend(delivery.id for delivery in deliveries)
        raise redis.ConnectionError("cut")

    me = consumer(redis_client, Recording(lambda _: me.keep()), idle=0, batch_entries=1)
    group: Any = me._group
    monkeypatch.setattr(group, "renew", renew)
    append(redis_client, "a1", "a2")
    me.turn(threading.Event())
    assert len(set(renewed)) == 2


class _Waits:
    """A stop that is never set and does not wait."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def is_set(self) -> bool:
        return False

    def wait(self, timeout: float) -> bool:
        self.seconds.append(timeout)
        assert len(self.seconds) < 20, "it waits for ever"
        return False


def test_busy_tenant_delays_nobody(redis_client: redis.Redis) -> None:
    projection = Recording()
    append(redis_client, *(f"busy{number}" for number in range(3_000)), tenant="busy")
    append(redis_client, "quick", tenant="quiet")
    consumer(redis_client, projection).turn(threading.Event())
    assert "quick" in projection.applied
    assert len(projection.applied) < 3_001


def test_deliveries_of_a_dead_consumer_are_taken_over(redis_client: redis.Redis) -> None:
    append(redis_client, "a1")
    ConsumerGroup(redis_client, "status", "dead").read(["42"], 10)
    projection, stop = Recording(), threading.Event()
    survivor = consumer(redis_client, projection, idle=0.05)
    eventually(lambda: survivor.turn(stop) and projection.applied == ["a1"])
    assert settled(redis_client, "42", "status")


def test_running_consumer_stops_and_forgets_its_name(redis_url: str) -> None:
    projection, stop = Recording(), threading.Event()
    with connect(redis_url) as client, connect(redis_url) as mine:
        running = threading.Thread(target=consumer(mine, projection).run, args=(stop,))
        running.start()
        append(client, "a1")
        eventually(lambda: projection.applied == ["a1"])
        stop.set()
        running.join(5)
        assert not running.is_alive()
        assert client.xinfo_consumers("tenant:42:events", "status") == []


def test_connection_cut_in_the_middle_of_a_read__its_deliveries_are_read_again(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server delivered and the reply was lost: the entry is read again at once."""
    append(redis_client, "a1")
    projection, stop = Recording(), threading.Event()
    me = consumer(redis_client, projection)
    group: Any = me._group
    request = group.request

    def cut(tenants: Sequence[str], count: int) -> ReadRequest:
        monkeypatch.setattr(group, "request", request)
        request(tenants, count).receive()

        def receive() -> Received:
            raise redis.ConnectionError("cut")

        return ReadRequest(receive)

    monkeypatch.setattr(group, "request", cut)
    running = threading.Thread(target=me.run, args=(stop,))
    running.start()
    eventually(lambda: projection.applied == ["a1"])
    stop.set()
    running.join(5)
    assert settled(redis_client, "42", "status")


def test_partly_stored_for_bad_data__the_batch_is_split(redis_client: redis.Redis) -> None:
    """An error of one tenant's data among those of a partial result delays no other tenant."""
    append(redis_client, "a", tenant="1")
    append(redis_client, "b", tenant="2")
    wrong = redis.ResponseError("Command # 1 (SADD k v) of pipeline caused error: WRONGTYPE no set")

    def fail(batch: Sequence[Entry]) -> None:
        if any(entry.tenant == "1" for entry in batch):
            raise PartlyStored({"1": wrong})

    projection = Recording(fail)
    consumer(redis_client, projection).turn(_Waits())
    assert projection.applied == ["b"]
    (letter,) = entries(redis_client, "tenant:1:dead")
    assert b"WRONGTYPE" in letter["detail"]


def test_pauses__are_no_longer_than_a_third_of_the_reclaim_time(redis_client: redis.Redis) -> None:
    append(redis_client, "a")
    failures = [redis.ConnectionError("away")] * 10

    def fail(_: Sequence[Entry]) -> None:
        if failures:
            raise failures.pop()

    stop = _Waits()
    consumer(redis_client, Recording(fail), idle=3).turn(stop)
    assert max(stop.seconds) == 1
    assert len(stop.seconds) == 10


def test_entry_that_an_operator_settled__is_counted_as_no_dead_letter(
    redis_client: redis.Redis,
) -> None:
    append(redis_client, "a")
    group = ConsumerGroup(redis_client, "status", "me")
    (delivery,) = group.read(["42"], 1)
    writer = DeadLetterWriter(redis_client, "status")
    assert writer.write(delivery, "cannot_be_applied", "")
    assert not writer.write(delivery, "cannot_be_applied", "")


def test_entry_that_cannot_be_acknowledged__is_not_counted_as_settled(
    redis_client: redis.Redis,
) -> None:
    """It is delivered, applied and counted again."""
    append(redis_client, "a")
    append(redis_client, "b", "c", tenant="43")
    counted = metrics.ACKNOWLEDGED.labels("status"), metrics.APPLIED.labels("status")

    def replace_stream(_: Sequence[Entry]) -> None:
        redis_client.set("tenant:42:events", "no stream")

    me = consumer(redis_client, Recording(replace_stream))
    before = [each._value.get() for each in counted]
    me.turn(threading.Event())
    assert [each._value.get() - was for each, was in zip(counted, before, strict=True)] == [2, 2]

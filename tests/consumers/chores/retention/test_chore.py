from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import pytest
import redis

from consumers import metrics
from consumers.chores.retention.chore import Retention
from consumers.chores.retention.registration import ConsumersAlive, deregister
from consumers.chores.retention.trimming import Trimmed, trim
from consumers.delivery.groups import ConsumerGroup
from streams.keys import Keys
from streams.wire import ask

LOG = "tenant:42:events"
EVENT = b'{"type":"done","id":"a1"}'


def add(client: redis.Redis, ids: Sequence[str]) -> None:
    for entry_id in ids:
        client.xadd(LOG, {"event": EVENT}, id=entry_id)


def group(client: redis.Redis, name: str) -> ConsumerGroup:
    made = ConsumerGroup(client, name, "me")
    made.register()
    return made


def had(client: redis.Redis, *names: str, count: int = 1_000) -> None:
    """Make groups read and acknowledge this number of new entries."""
    for name in names:
        one = group(client, name)
        one.acknowledge(one.read(["42"], count))


def trimmed(client: redis.Redis, keep_seconds: float = 0) -> Trimmed:
    (one,) = trim(client, Keys(), keep_seconds, ["42"])
    return one


OLD = [f"{n}-0" for n in range(1, 301)]


def test_what_every_group_has_acknowledged_goes(redis_client: redis.Redis) -> None:
    add(redis_client, OLD)
    had(redis_client, "status", "rows")
    assert trimmed(redis_client) == Trimmed("42", 299, 1, ())


def test_large_stream_is_trimmed_in_several_steps(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumers.chores.retention.trimming.TRIM_AT_ONCE", 100)
    add(redis_client, OLD)
    had(redis_client, "rows")
    assert trimmed(redis_client).trimmed == 299


def test_pending_entry_holds_back_itself_and_all_after(redis_client: redis.Redis) -> None:
    add(redis_client, OLD)
    had(redis_client, "rows")
    had(redis_client, "status", count=9)
    group(redis_client, "status").read(["42"], 5)
    assert trimmed(redis_client) == Trimmed("42", 9, 291, ("status",))


def test_registered_group_that_never_read_holds_everything(redis_client: redis.Redis) -> None:
    add(redis_client, OLD)
    had(redis_client, "status", "rows")
    group(redis_client, "audit")
    assert trimmed(redis_client) == Trimmed("42", 0, 300, ("audit",))


def test_without_a_history_nothing_goes(redis_client: redis.Redis) -> None:
    add(redis_client, OLD)
    had(redis_client, "status", "rows")
    redis_client.srem("jobtrail:groups", "rows")
    assert trimmed(redis_client) == Trimmed("42", 0, 300, ("rows",))


def test_young_entries_stay(redis_client: redis.Redis) -> None:
    now = int(time.time() * 1000)
    add(redis_client, ["1-0", "2-0", f"{now - 120_000}-0", f"{now - 10_000}-0"])
    had(redis_client, "rows")
    assert trimmed(redis_client, keep_seconds=60) == Trimmed("42", 3, 1, ())


def test_ids_are_compared_as_integers_of_64_bits(redis_client: redis.Redis) -> None:
    add(redis_client, ["9-9007199254740992", "9-9007199254740993", "10-0", "10-1"])
    had(redis_client, "rows")
    had(redis_client, "status", count=2)
    assert trimmed(redis_client).trimmed == 1


def test_tenant_without_a_stream_is_left_out(redis_client: redis.Redis) -> None:
    redis_client.set(LOG, "no stream")
    assert list(trim(redis_client, Keys(), 0, ["42", "43"])) == []


def test_after_deregistering_the_stream_shrinks(redis_client: redis.Redis) -> None:
    add(redis_client, OLD)
    had(redis_client, "rows", "audit", count=10)
    had(redis_client, "rows")
    redis_client.zadd("jobtrail:ready:audit", {"42": 1})
    assert deregister(redis_client, "audit", force=True) == 1
    assert trimmed(redis_client).left == 1
    assert [redis_client.keys(f"jobtrail:{of}:audit") for of in ("ready", "leased", "stale")] == [
        *([], [], []),
    ]


def test_group_with_consumers_alive_is_not_deregistered(redis_client: redis.Redis) -> None:
    add(redis_client, OLD)
    had(redis_client, "audit")
    with pytest.raises(ConsumersAlive, match="has 1 consumer that is alive"):
        deregister(redis_client, "audit")
    assert redis_client.sismember("jobtrail:groups", "audit")


def test_nothing_that_a_group_has_not_had_is_lost_under_load(redis_client: redis.Redis) -> None:
    """A fast and a slow group each read every entry, whatever is trimmed meanwhile."""
    total, seen = 4_000, {"status": set[bytes](), "rows": set[bytes]()}
    added, done, most = list[bytes](), threading.Event(), 0
    for name in seen:
        group(redis_client, name)

    def append() -> None:
        for _ in range(total):
            added.append(ask(redis_client, "XADD", LOG, "*", "event", EVENT))

    def read(name: str, count: int) -> None:
        one, until = ConsumerGroup(redis_client, name, "me"), time.monotonic() + 30
        while len(seen[name]) < total and time.monotonic() < until:
            deliveries = one.read(["42"], count)
            seen[name].update(delivery.id for delivery in deliveries)
            if deliveries:
                one.acknowledge(deliveries)

    def trims() -> None:
        nonlocal most
        while not done.is_set():
            for one in trim(redis_client, Keys(), 0):
                most = max(most, one.trimmed)

    trimmer = threading.Thread(target=trims)
    workers = [
        threading.Thread(target=append),
        threading.Thread(target=read, args=("status", 500)),
        threading.Thread(target=read, args=("rows", 3)),
    ]
    for thread in (trimmer, *workers):
        thread.start()
    for thread in workers:
        thread.join()
    done.set()
    trimmer.join()
    assert seen["status"] == seen["rows"] == set(added)
    assert most > 0
    assert trimmed(redis_client).left == 1


def test_steady_load_stays_bounded(redis_client: redis.Redis) -> None:
    for _ in range(20):
        for _ in range(100):
            redis_client.xadd(LOG, {"event": EVENT})
        had(redis_client, "status", "rows")
        assert trimmed(redis_client).left <= 101


def test_only_the_elected_one_trims_and_publishes_who_holds_back(redis_client: redis.Redis) -> None:
    add(redis_client, OLD)
    had(redis_client, "rows")
    group(redis_client, "audit")
    dropped: list[str] = []

    def retention(name: str) -> Retention:
        return Retention(
            redis_client, name, keep_seconds=0, drop_history=lambda: dropped.append(name)
        )

    first, second = retention("first"), retention("second")
    first.run()
    assert metrics.HELD_BACK.labels("audit")._value.get() == 1
    second.run()
    assert dropped == ["first"]
    assert not first.due()

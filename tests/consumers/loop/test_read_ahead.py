"""Reading ahead: the batch that a consumer requests before it settles the current one."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import psycopg
import pytest
import redis

from consumers.chores.sweep.chore import Sweep
from consumers.dead_letters.trials import Suspect
from consumers.dead_letters.writer import DeadLetterWriter
from consumers.delivery.deliveries import Delivery
from consumers.delivery.groups import ConsumerGroup
from consumers.delivery.read_requests import ReadRequest
from consumers.delivery.ready import ReadyQueue
from consumers.loop import batches, read_ahead, settling
from consumers.loop.batches import Batch, decode_batch
from consumers.loop.runner import Consumer
from ops.devstack import EmbeddedRedis
from projections.decoding import Entry, decode_each
from streams.appender import EventAppender
from streams.connection import connect
from streams.wire import ask
from tests.support.groups import entries, pending, settled
from tests.support.proxy import Proxy
from tests.support.waiting import eventually

STREAM = "tenant:42:events"
QUANTUM = 10


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_ahead, "QUANTUM", QUANTUM)


class Recording:
    """A projection that records its batches and calls a function in each."""

    def __init__(self, *during: Callable[[], object]) -> None:
        self.during = list(during)
        self.batches: list[list[str]] = []

    @property
    def applied(self) -> list[str]:
        return [each for batch in self.batches for each in batch]

    def apply(self, entries: Sequence[Entry]) -> None:
        if self.during:
            self.during.pop(0)()
        self.batches.append([entry.event.id for entry in entries])


def consumer(
    client: redis.Redis, projection: Any, name: str = "me", *, idle: float = 30
) -> Consumer:
    return Consumer(
        group=ConsumerGroup(client, "status", name),
        projection=projection,
        ready=ReadyQueue(client, "status"),
        dead_letters=DeadLetterWriter(client, "status"),
        sweep=Sweep(client, "status", name, reclaim_idle_seconds=idle),
        reclaim_idle_seconds=idle,
    )


def append(client: redis.Redis, count: int, *, tenant: str = "42", first: int = 0) -> list[str]:
    ids = [f"{tenant}-{number}" for number in range(first, first + count)]
    EventAppender(client).append_many((tenant, {"type": "done", "id": each}) for each in ids)
    return ids


def run_until(me: Consumer, done: Callable[[], object]) -> None:
    """Run the consumer in a thread until a condition is true, and stop it."""
    stop = threading.Event()
    running = threading.Thread(target=me.run, args=(stop,))
    running.start()
    try:
        eventually(done)
    finally:
        stop.set()
        running.join(60)
    assert not running.is_alive()


def test_backlog__the_next_batch_is_delivered_while_this_one_is_applied(
    redis_client: redis.Redis,
) -> None:
    ids = append(redis_client, 3 * QUANTUM)
    held: list[int | None] = []

    def look() -> None:
        eventually(lambda: pending(redis_client, "42", "status") == 2 * QUANTUM)
        held.append(pending(redis_client, "42", "status"))

    projection, stop = Recording(look, look), threading.Event()
    me = consumer(redis_client, projection)
    assert [me.turn(stop) for _ in range(3)] == [QUANTUM] * 3
    assert held == [2 * QUANTUM] * 2
    assert projection.applied == ids
    assert settled(redis_client, "42", "status")


def test_no_backlog__nothing_is_requested(redis_client: redis.Redis) -> None:
    """Entries that arrive while this batch is applied are left to other consumers."""
    append(redis_client, QUANTUM - 1)
    projection = Recording(lambda: append(redis_client, 1, first=QUANTUM))
    consumer(redis_client, projection).turn(threading.Event())
    other = Recording()
    consumer(redis_client, other, "other").turn(threading.Event())
    assert other.applied == [f"42-{QUANTUM}"]


def test_stop__what_is_ahead_is_settled_and_the_rest_is_left_to_others(
    redis_client: redis.Redis,
) -> None:
    ids, stop = append(redis_client, 3 * QUANTUM), threading.Event()
    projection = Recording(stop.set)
    consumer(redis_client, projection).run(stop)
    assert projection.applied == ids[: 2 * QUANTUM]
    assert pending(redis_client, "42", "status") == 0
    assert redis_client.xinfo_consumers(STREAM, "status") == []
    rest = Recording()
    consumer(redis_client, rest, "other").turn(threading.Event())
    assert rest.applied == ids[2 * QUANTUM :]


def test_stop_with_portions_of_a_lease_unread__their_tenants_are_marked_again(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumers.delivery.batch_size.PORTION_BYTES", 1)
    names, stop = [f"t{number}" for number in range(5)], threading.Event()
    for name in names:
        append(redis_client, 2, tenant=name)
    projection = Recording(stop.set)
    consumer(redis_client, projection).run(stop)
    assert len(projection.batches) == 2
    rest = Recording()
    other = consumer(redis_client, rest, "other")
    for _ in names[2:]:
        other.turn(threading.Event())
    assert len(rest.applied) == 6
    assert all(settled(redis_client, name, "status") for name in names)


def _lease_of_five(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return tenants with two entries each; each of them is a portion of its own."""
    monkeypatch.setattr("consumers.delivery.batch_size.PORTION_BYTES", 1)
    names = [f"t{number}" for number in range(5)]
    for name in names:
        append(client, 2, tenant=name)
    return names


def test_stop_after_a_request_failed__its_tenants_are_marked_again(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    names, stop = _lease_of_five(redis_client, monkeypatch), threading.Event()
    request = ConsumerGroup.request

    def fail(group: ConsumerGroup, tenants: Sequence[str], quantum: int) -> ReadRequest:
        if list(tenants) == ["t1"]:
            raise redis.ConnectionError("away")
        return request(group, tenants, quantum)

    monkeypatch.setattr(ConsumerGroup, "request", fail)
    consumer(redis_client, Recording(stop.set)).run(stop)
    monkeypatch.setattr(ConsumerGroup, "request", request)
    assert set(ReadyQueue(redis_client, "status").take(9, 0).tenants) == set(names[1:])


def test_stop_while_the_lease_cannot_be_ended__the_batch_ahead_is_settled(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    names, stop = _lease_of_five(redis_client, monkeypatch), threading.Event()

    def fail(*_: object) -> None:
        raise redis.ConnectionError("away")

    monkeypatch.setattr(ReadyQueue, "finish", fail)
    projection = Recording(stop.set)
    consumer(redis_client, projection).run(stop)
    assert len(projection.batches) == 2
    assert all(settled(redis_client, name, "status") for name in names[:2])


def test_stop_in_an_outage__both_batches_are_given_back_at_once(redis_client: redis.Redis) -> None:
    """Other consumers need not wait for the idle time, and no delivery is counted."""
    append(redis_client, 3 * QUANTUM)
    stop = threading.Event()

    def fail() -> None:
        stop.set()
        raise psycopg.OperationalError("away")

    consumer(redis_client, Recording(fail)).run(stop)
    rows = redis_client.xpending_range(STREAM, "status", "-", "+", 100, idle=30_000)
    assert len(rows) == 2 * QUANTUM
    assert {row["times_delivered"] for row in rows} == {1}
    taken = Recording()
    consumer(redis_client, taken, "other").take_over("42", threading.Event())
    assert len(taken.applied) == 2 * QUANTUM


def test_outage__what_is_ahead_is_held_too(redis_client: redis.Redis) -> None:
    append(redis_client, 3 * QUANTUM)
    old: list[int] = []

    def wait(_seconds: float) -> bool:
        rows = redis_client.xpending_range(STREAM, "status", "-", "+", 100, idle=50_000)
        old.append(len(rows))
        ids = [
            row["message_id"]
            for row in redis_client.xpending_range(STREAM, "status", "-", "+", 100)
        ]
        ask(
            *(redis_client, "XCLAIM", STREAM, "status", "me", 0),
            *(*ids, "IDLE", 60_000, "JUSTID"),
        )
        return False

    def fail() -> None:
        raise psycopg.OperationalError("away")

    stop: Any = type("Stop", (), {"is_set": lambda _: False, "wait": lambda _, s: wait(s)})()
    projection = Recording(fail, fail, fail)
    consumer(redis_client, projection).turn(stop)
    assert old == [0, 0, 0]
    assert projection.batches == [[f"42-{number}" for number in range(QUANTUM)]]


def test_connection_cut_between_request_and_reply__the_deliveries_are_read_again(
    redis_server: EmbeddedRedis, redis_url: str, redis_client: redis.Redis
) -> None:
    port = int(redis_server.url.rpartition(":")[2].partition("/")[0])
    with Proxy(port) as proxy, connect(redis_url.replace(str(port), str(proxy.port))) as mine:
        ids = append(redis_client, 3 * QUANTUM)
        projection = Recording(proxy.cut, proxy.cut)
        run_until(consumer(mine, projection), lambda: settled(redis_client, "42", "status"))
    assert sorted(set(projection.applied)) == sorted(ids)


def test_replies_severed__the_batch_in_hand_is_settled_and_the_other_read_again(
    redis_server: EmbeddedRedis, redis_url: str, redis_client: redis.Redis
) -> None:
    port = int(redis_server.url.rpartition(":")[2].partition("/")[0])
    with (
        Proxy(port) as proxy,
        connect(redis_url.replace(str(port), str(proxy.port)), timeout=1) as mine,
    ):
        ids = append(redis_client, 4 * QUANTUM)
        projection = Recording(proxy.sever_replies, proxy.start)
        me = consumer(mine, projection)
        timer = threading.Timer(0.5, proxy.start)
        timer.start()
        run_until(me, lambda: settled(redis_client, "42", "status"))
        timer.join()
    assert sorted(set(projection.applied)) == sorted(ids)


def test_refused_for_one_tenant__the_others_of_the_batch_are_applied(
    redis_client: redis.Redis,
) -> None:
    """The key of one tenant's stream gets another type while its next batch is requested."""
    ids = append(redis_client, 4 * QUANTUM)
    append(redis_client, 4 * QUANTUM, tenant="odd")
    projection = Recording(lambda: redis_client.set("tenant:odd:events", "odd"))
    me, stop = consumer(redis_client, projection), threading.Event()
    eventually(lambda: me.turn(stop) == 0 and settled(redis_client, "42", "status"))
    assert [each for each in projection.applied if each.startswith("42")] == ids
    assert me._group.refused.is_paused("odd", "reading")


def test_group_destroyed_while_a_batch_is_ahead__it_begins_again(
    redis_client: redis.Redis,
) -> None:
    ids = append(redis_client, 4 * QUANTUM)
    projection = Recording(lambda: redis_client.xgroup_destroy(STREAM, "status"))
    me, stop = consumer(redis_client, projection), threading.Event()
    eventually(lambda: me.turn(stop) == 0 and settled(redis_client, "42", "status"))
    assert sorted(set(projection.applied)) == sorted(ids)


def test_stream_deleted_while_a_batch_is_ahead__what_was_delivered_is_applied(
    redis_client: redis.Redis,
) -> None:
    ids = append(redis_client, 3 * QUANTUM)

    def delete() -> None:
        eventually(lambda: pending(redis_client, "42", "status") == 2 * QUANTUM)
        redis_client.delete(STREAM)

    projection, stop = Recording(delete), threading.Event()
    me = consumer(redis_client, projection)
    while me.turn(stop):
        pass
    assert projection.applied == ids[: 2 * QUANTUM]
    append(redis_client, 1, first=100)
    eventually(lambda: me.turn(stop) or projection.applied[-1] == "42-100")


def test_bad_entry_ahead__concerns_no_batch_but_its_own(redis_client: redis.Redis) -> None:
    append(redis_client, QUANTUM)
    redis_client.xadd(STREAM, {"event": b"no JSON"})
    append(redis_client, QUANTUM, first=QUANTUM)
    projection, stop = Recording(), threading.Event()
    me = consumer(redis_client, projection)
    projection.during = [me.look_ahead]
    me.turn(stop)
    assert projection.batches == [[f"42-{number}" for number in range(QUANTUM)]]
    assert redis_client.exists("tenant:42:dead") == 0
    while me.turn(stop):
        pass
    (letter,) = entries(redis_client, "tenant:42:dead")
    assert letter["reason"] == b"not_json"
    assert len(projection.applied) == 2 * QUANTUM
    assert settled(redis_client, "42", "status")


def test_error_of_decoding_ahead__is_raised_in_its_turn(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(redis_client, 2 * QUANTUM)

    def broken() -> None:
        monkeypatch.setattr(batches, "decode_each", _raise_memory_error)
        me.look_ahead()

    projection, stop = Recording(broken), threading.Event()
    me = consumer(redis_client, projection)
    assert me.turn(stop) == QUANTUM
    assert pending(redis_client, "42", "status") == QUANTUM
    with pytest.raises(MemoryError):
        me.turn(stop)


def _raise_memory_error(*_: object) -> None:
    raise MemoryError


def test_trial__what_is_ahead_was_decoded_before_it_began(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry that ends the process while it is decoded must not count as a trial of another."""
    append(redis_client, 1, tenant="stale")
    ConsumerGroup(redis_client, "status", "dead").read(["stale"], 1)
    (row,) = redis_client.xpending_range("tenant:stale:events", "status", "-", "+", 1)
    ask(
        *(redis_client, "XCLAIM", "tenant:stale:events", "status", "dead", 0, row["message_id"]),
        *("RETRYCOUNT", 6, "JUSTID"),
    )
    append(redis_client, 3 * QUANTUM)
    seen: list[str] = []
    begin = settling.Settler._try_alone

    def decoding(tenants: Sequence[str], *rest: Any) -> Any:
        seen.append(f"decode {tenants[0]}")
        return decode_each(tenants, *rest)

    def trying(settler: Any, suspect: Suspect, retry: Any) -> None:
        seen.append("trial")
        begin(settler, suspect, retry)
        seen.append("over")

    monkeypatch.setattr(batches, "decode_each", decoding)
    monkeypatch.setattr(settling.Settler, "_try_alone", trying)
    projection = Recording()
    me = consumer(redis_client, projection)
    me.turn(threading.Event())
    projection.during = [me.look_ahead]
    me._reclaim_idle = 0
    me.take_over("stale", threading.Event())
    assert seen == ["decode 42", "decode 42", "trial", "decode stale", "over"]


def test_heavy_tenant__is_not_requested_ahead(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its entries are many bytes: they are delivered when their turn comes."""
    monkeypatch.setattr("consumers.delivery.batch_size.LIGHT_BYTES", 2_000)
    monkeypatch.setattr("consumers.delivery.groups.LIGHT_BYTES", 2_000)
    ids = append(redis_client, 100)
    most: list[int | None] = []

    def look() -> None:
        me.look_ahead()
        most.append(pending(redis_client, "42", "status"))

    projection, stop = Recording(*[look] * 100), threading.Event()
    me = consumer(redis_client, projection)
    while me.turn(stop):
        pass
    assert projection.applied == ids
    assert len(most) > 1
    assert most == [len(batch) for batch in projection.batches]


def test_never_more_than_two_batches(redis_client: redis.Redis) -> None:
    append(redis_client, 10 * QUANTUM)
    most: list[int | None] = []

    def look() -> None:
        me.look_ahead()
        me.look_ahead()
        most.append(pending(redis_client, "42", "status"))

    projection, stop = Recording(*[look] * 10), threading.Event()
    me = consumer(redis_client, projection)
    while me.turn(stop):
        pass
    assert most == [2 * QUANTUM] * 9 + [QUANTUM]


def test_batch_ahead_that_was_taken_over_meanwhile__is_applied_twice_and_changes_nothing(
    redis_client: redis.Redis,
) -> None:
    ids = append(redis_client, 2 * QUANTUM)
    taken = Recording()

    def steal() -> None:
        eventually(lambda: pending(redis_client, "42", "status") == 2 * QUANTUM)
        consumer(redis_client, taken, "thief", idle=0).take_over("42", threading.Event())

    projection, stop = Recording(steal), threading.Event()
    me = consumer(redis_client, projection)
    while me.turn(stop):
        pass
    assert (sorted(projection.applied), sorted(taken.applied)) == (sorted(ids), sorted(ids))
    assert settled(redis_client, "42", "status")


def test_batch_of_nothing_is_nothing(redis_client: redis.Redis) -> None:
    me = consumer(redis_client, Recording())
    me._settler.settle(Batch((), ()), threading.Event())
    assert decode_batch(list[Delivery](), 1_000) == Batch((), ())


def test_settled_batches_are_freed_at_once__refusals_or_not(redis_client: redis.Redis) -> None:
    """A consumer collects garbage rarely: objects in reference cycles would stay in memory."""
    append(redis_client, 2 * QUANTUM)
    redis_client.xadd(STREAM, {"event": b"no JSON"})
    append(redis_client, QUANTUM, tenant="new")
    me, stop = consumer(redis_client, Recording()), threading.Event()
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        while me.turn(stop):
            pass
        gc.collect()
        assert not [each for each in gc.garbage if isinstance(each, Entry | Delivery)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def test_batch_of_many_tenants_has_about_so_many_entries(redis_client: redis.Redis) -> None:
    """The groups' batches differ; each tenant has its equal share."""
    for name in "abcd":
        append(redis_client, QUANTUM, tenant=name)
    sizes = {}
    for entries_ in (8, 16):
        projection = Recording()
        me = Consumer(
            group=ConsumerGroup(redis_client, f"group{entries_}", "me"),
            projection=projection,
            ready=ReadyQueue(redis_client, f"group{entries_}"),
            dead_letters=DeadLetterWriter(redis_client, f"group{entries_}"),
            sweep=Sweep(redis_client, f"group{entries_}", "me"),
            batch_entries=entries_,
        )
        me._reader._ready.mark([*"abcd"])
        me.turn(threading.Event())
        sizes[entries_] = len(projection.batches[0])
    assert sizes == {8: 8, 16: 16}


def test_refused_with_a_full_quantum__it_is_not_leased_again_and_again(
    redis_client: redis.Redis,
) -> None:
    """Its key gets another type between the read and the acknowledgement."""
    append(redis_client, QUANTUM)
    append(redis_client, 2 * QUANTUM, tenant="odd")
    projection = Recording(lambda: redis_client.set("tenant:odd:events", "odd"))
    me, stop = consumer(redis_client, projection), threading.Event()
    eventually(lambda: me.turn(stop) == 0 and me._group.refused.is_paused("odd", "reading"))
    for _ in range(3):
        me._reader.next(0.01)
    assert redis_client.zscore("jobtrail:ready:status", "odd") is None


def _append_large(client: redis.Redis, tenant: str, count: int) -> None:
    event = {"type": "done", "id": tenant, "data": {"text": "x" * 2_000}}
    EventAppender(client).append_many((tenant, event) for _ in range(count))


def _few_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "consumers.delivery.batch_size.LIGHT_BYTES",
        "consumers.delivery.groups.LIGHT_BYTES",
    ):
        monkeypatch.setattr(name, 8_000)
    monkeypatch.setattr("consumers.delivery.batch_size.PORTION_BYTES", 1)


def test_tenant_that_grew_heavy_while_its_turn_was_to_come__is_read_by_bytes(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    _few_bytes(monkeypatch)
    for name in "abc":
        append(redis_client, 1, tenant=name)

    def grow() -> None:
        _append_large(redis_client, "c", QUANTUM - 1)
        portions._clock = lambda: float("inf")

    projection, stop = Recording(grow), threading.Event()
    me = consumer(redis_client, projection)
    portions = me._group.portions
    eventually(lambda: me.turn(stop) == 0 and settled(redis_client, "c", "status"))
    assert projection.batches[:2] == [["a-0"], ["b-0"]]
    assert max(map(len, projection.batches)) <= 4
    assert len(projection.applied) == 2 + QUANTUM


def test_heavy_tenant_whose_measurement_was_dropped__is_read_by_bytes(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    _few_bytes(monkeypatch)
    monkeypatch.setattr("consumers.delivery.batch_size.REMEMBERED", 1)
    for name in "ab":
        append(redis_client, 1, tenant=name)
    for name in "cd":
        _append_large(redis_client, name, QUANTUM)
    monkeypatch.setattr("consumers.delivery.batch_size.MEASURE_SECONDS", 3_600)
    projection, stop = Recording(), threading.Event()
    me = consumer(redis_client, projection)
    projection.during = [partial(me._group.claim, "other", 3_600)]
    eventually(lambda: me.turn(stop) == 0 and settled(redis_client, "d", "status"))
    assert max(map(len, projection.batches)) <= 3
    assert len(projection.applied) == 2 + 2 * QUANTUM


def test_heavy_tenant_without_a_group__its_first_read_is_a_whole_portion(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (
        "consumers.delivery.batch_size.LIGHT_BYTES",
        "consumers.delivery.groups.LIGHT_BYTES",
    ):
        monkeypatch.setattr(name, 7_000)
    _append_large(redis_client, "42", QUANTUM)
    group = ConsumerGroup(redis_client, "status", "me")
    group.portions.measure("42")
    received = group.request(["42"], QUANTUM).receive()
    assert len(received.deliveries) == 3
    assert received.filled == ["42"]


def _old_at_each_wait(client: redis.Redis, name: str, waits: int) -> tuple[Any, list[int]]:
    """Return a stop that makes all pending entries old in each wait, and the numbers that were."""
    old: list[int] = []

    def rows() -> list[Any]:
        return client.xpending_range(STREAM, "status", "-", "+", 1_000)

    def wait(_: float) -> bool:
        old.append(sum(row["time_since_delivered"] >= 50_000 for row in rows()))
        ids = [row["message_id"] for row in rows()]
        ask(client, "XCLAIM", STREAM, "status", name, 0, *ids, "IDLE", 60_000, "JUSTID")
        return len(old) >= waits

    stop: Any = type(
        "Stop", (), {"is_set": lambda _: len(old) >= waits, "wait": lambda _, s: wait(s)}
    )()
    return stop, old


def test_outage_for_a_half_of_a_batch__the_other_half_is_held_too(
    redis_client: redis.Redis,
) -> None:
    append(redis_client, QUANTUM - 1)

    def refuse() -> None:
        raise ValueError("no such thing")

    def fail() -> None:
        raise psycopg.OperationalError("away")

    stop, old = _old_at_each_wait(redis_client, "me", 5)
    projection = Recording(refuse, fail, fail, fail)
    consumer(redis_client, projection).turn(stop)
    assert old == [0, 0, 0]
    assert settled(redis_client, "42", "status")


def test_outage_of_dead_lettering__the_rest_of_the_batch_is_held_too(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(redis_client, 3)
    redis_client.xadd(STREAM, {"event": b"no JSON"})
    stop, old = _old_at_each_wait(redis_client, "me", 5)
    failures = iter([redis.ResponseError("OOM command not allowed")] * 3)
    write = DeadLetterWriter.write

    def refuse(letters: DeadLetterWriter, *words: Any) -> None:
        for failure in failures:
            raise failure
        write(letters, *words)

    monkeypatch.setattr(DeadLetterWriter, "write", refuse)
    consumer(redis_client, Recording()).turn(stop)
    assert old == [0, 0, 0]
    assert settled(redis_client, "42", "status")


def test_outage_for_what_was_taken_over__suspects_and_the_others_are_held(
    redis_client: redis.Redis,
) -> None:
    append(redis_client, 4)
    first, *_ = ConsumerGroup(redis_client, "status", "dead").read(["42"], 10)
    who = ("XCLAIM", STREAM, "status", "dead", 0, first.id)
    ask(redis_client, *who, "RETRYCOUNT", 6, "JUSTID")

    def fail() -> None:
        raise psycopg.OperationalError("away")

    stop, old = _old_at_each_wait(redis_client, "me", 5)
    projection = Recording(fail, fail)
    consumer(redis_client, projection, idle=0).take_over("42", stop)
    assert old == [0, 0]
    assert projection.batches == [["42-1", "42-2", "42-3"], ["42-0"]]

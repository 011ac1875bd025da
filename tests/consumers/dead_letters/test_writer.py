"""Writing and requeueing dead letters: no entry is lost, and none is there twice."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
import redis

from consumers.chores.sweep.chore import Sweep
from consumers.dead_letters.letter import Letter
from consumers.dead_letters.letter_filter import LetterFilter
from consumers.dead_letters.store import DeadLetterStore, NotAppended, with_event_id
from consumers.dead_letters.writer import DeadLetterWriter
from consumers.delivery.deliveries import Delivery
from consumers.delivery.groups import ConsumerGroup
from consumers.delivery.ready import ReadyQueue
from consumers.loop.runner import Consumer
from consumers.protocols import Projection
from projections.decoding import Entry
from projections.rows.writer import JobRows
from projections.status.writer import StatusCache
from sql import sessions
from streams.connection import connect
from tests.support.groups import entries, pending, settled

STREAM, DEAD = "tenant:42:events", "tenant:42:dead"


def deliver(client: redis.Redis, fields: dict[Any, Any], group: str = "status") -> Delivery:
    client.xadd(STREAM, fields)
    return ConsumerGroup(client, group, "me").read(["42"], 10)[-1]


def raw_entries(client: redis.Redis) -> list[tuple[bytes, dict[bytes, bytes]]]:
    found: Any = client.xrange(STREAM)
    return list(found)


def dead_letter(
    client: redis.Redis, event: bytes = b"x", reason: str = "not_json", group: str = "status"
) -> Letter:
    DeadLetterWriter(client, group).write(deliver(client, {"event": event}, group), reason, "why")
    return next(DeadLetterStore(client).letters("42"))


def test_write__called_twice__is_one_letter(redis_client: redis.Redis) -> None:
    """The first reply may be lost with its connection: the writer tries again."""
    delivery = deliver(redis_client, {"event": b"x"})
    letters = DeadLetterWriter(redis_client, "status")
    letters.write(delivery, "not_json", "why")
    letters.write(delivery, "not_json", "why")
    assert redis_client.xlen(DEAD) == 1


def test_write__group_lost_meanwhile__leaves_it_to_be_delivered_again(
    redis_client: redis.Redis,
) -> None:
    delivery = deliver(redis_client, {"event": b"x"})
    redis_client.xgroup_destroy(STREAM, "status")
    DeadLetterWriter(redis_client, "status").write(delivery, "not_json", "why")
    assert redis_client.exists(DEAD) == 0


def test_write__dead_letters_cannot_be_written__entry_stays_pending(
    redis_client: redis.Redis,
) -> None:
    delivery = deliver(redis_client, {"event": b"x"})
    redis_client.set(DEAD, "no stream")
    with pytest.raises(redis.ResponseError):
        DeadLetterWriter(redis_client, "status").write(delivery, "not_json", "why")
    assert pending(redis_client, "42", "status") == 1


def test_write__more_fields_than_a_script_takes(redis_client: redis.Redis) -> None:
    delivery = deliver(redis_client, {f"f{number}": "x" for number in range(10_000)})
    DeadLetterWriter(redis_client, "status").write(delivery, "no_event_field", "why")
    assert redis_client.xlen(DEAD) == 1
    assert pending(redis_client, "42", "status") == 0


@pytest.mark.parametrize("raw", [b"\xff\x00raw", b'{"event_id":"own","id":3}', b"[1]", b""])
def test_requeue__puts_the_same_bytes_back_and_marks_the_tenant(
    redis_client: redis.Redis, raw: bytes
) -> None:
    letter = dead_letter(redis_client, raw)
    added = DeadLetterStore(redis_client).requeue(letter)
    assert added is not None
    assert raw_entries(redis_client)[-1] == (str(added).encode(), {b"event": raw})
    assert redis_client.xlen(DEAD) == 0
    for group in ("status", "rows"):
        assert redis_client.zscore(f"jobtrail:ready:{group}", "42")


def test_requeue__entry_without_event__has_its_fields_again(redis_client: redis.Redis) -> None:
    fields = {b"reason": b"mine", b"event_": b"\xff", b"found:x": b"y"}
    DeadLetterWriter(redis_client, "status").write(
        deliver(redis_client, fields), "no_event_field", "-"
    )
    (letter,) = DeadLetterStore(redis_client).letters("42")
    assert (letter.event, letter.reason) == (None, "no_event_field")
    assert DeadLetterStore(redis_client).requeue(letter)
    assert [found for _, found in raw_entries(redis_client)] == [fields, fields]


def test_requeue__fields_beside_the_event__are_there_again(redis_client: redis.Redis) -> None:
    fields = {b"before": b"1", b"event": b"not json", b"after": b"2"}
    DeadLetterWriter(redis_client, "status").write(deliver(redis_client, fields), "not_json", "-")
    (letter,) = DeadLetterStore(redis_client).letters("42")
    assert DeadLetterStore(redis_client).requeue(letter)
    assert raw_entries(redis_client)[-1][1] == fields


def test_requeue__by_many_at_once__adds_it_once(redis_url: str, redis_client: redis.Redis) -> None:
    letters = [dead_letter(redis_client, b"%d" % number) for number in range(20)]
    start = threading.Barrier(8)

    def work() -> int:
        with connect(redis_url) as client:
            dead_letters = DeadLetterStore(client)
            start.wait()
            return sum(dead_letters.requeue(letter) is not None for letter in letters)

    with ThreadPoolExecutor(8) as pool:
        done = sum(each.result() for each in [pool.submit(work) for _ in range(8)])
    assert done == 20
    assert redis_client.xlen(STREAM) == 40
    assert redis_client.xlen(DEAD) == 0


def test_requeue__stream_cannot_be_written__letter_stays(redis_client: redis.Redis) -> None:
    letter = dead_letter(redis_client)
    redis_client.delete(STREAM)
    redis_client.set(STREAM, "no stream")
    with pytest.raises(NotAppended, match=f"Redis refuses to append to {STREAM}: WRONGTYPE"):
        DeadLetterStore(redis_client).requeue(letter)
    assert redis_client.xlen(DEAD) == 1


def test_requeue__no_memory__letter_stays(redis_client: redis.Redis) -> None:
    letter = dead_letter(redis_client)
    redis_client.config_set("maxmemory", "1")
    try:
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            DeadLetterStore(redis_client).requeue(letter)
    finally:
        redis_client.config_set("maxmemory", "0")
    assert redis_client.xlen(DEAD) == 1
    assert redis_client.xlen(STREAM) == 1


def test_requeue__entry_that_would_grow_too_large__keeps_its_bytes(
    redis_client: redis.Redis,
) -> None:
    letter = dead_letter(redis_client, b'{"id":"a1"}')
    assert DeadLetterStore(redis_client, max_event_bytes=20).requeue(letter)
    assert entries(redis_client, STREAM)[-1]["event"] == b'{"id":"a1"}'


@pytest.mark.parametrize(
    "raw",
    [
        b"{}",
        b' {"type":"done","id":"a1"} \n',
        b'{"event_id":null,"id":"a1"}',
        b'{"x":"}","big":123456789012345678901234567890}',
        rb'{"type":"done","id":"a1","mine":"\ud800"}',
    ],
)
def test_with_event_id__object_without__is_named_and_otherwise_the_same(raw: bytes) -> None:
    named = with_event_id(raw, "5-1")
    assert json.loads(named) == json.loads(raw) | {"event_id": "5-1"}


@pytest.mark.parametrize(
    "raw",
    [b"", b"null", b"[]", b'"{}"', b"{", b"\xff{}", b'{"event_id":"own"}', b'{"event_id":0}'],
)
def test_with_event_id__anything_else__is_left_as_it_is(raw: bytes) -> None:
    assert with_event_id(raw, "5-1") == raw


def test_letters__of_many_pages__either_way_round(redis_client: redis.Redis) -> None:
    with redis_client.pipeline(transaction=False) as pipeline:
        for number in range(120):
            group = "status" if number % 2 else "rows"
            pipeline.xadd(DEAD, {"event": b"x", "group": group, "reason": "r"}, f"{number + 1}-0")
        pipeline.execute()
    dead_letters = DeadLetterStore(redis_client)
    ids = [letter.id.ms for letter in dead_letters.letters("42")]
    assert ids == list(range(120, 0, -1))
    assert [letter.id.ms for letter in dead_letters.letters("42", oldest_first=True)] == ids[::-1]
    wanted = LetterFilter(group="rows", reason="r")
    assert sum(1 for _ in dead_letters.letters("42", wanted=wanted)) == 60
    assert not list(dead_letters.letters("42", wanted=LetterFilter(reason="s")))
    assert dead_letters.find("42", "7-0") is not None
    assert dead_letters.find("42", "7-1") is None
    # What comes while they are gone through would else go round for ever.
    oldest = dead_letters.letters("42", oldest_first=True)
    next(oldest)
    redis_client.xadd(DEAD, {"event": b"late"}, "999-0")
    assert sum(1 for _ in oldest) == 119


def test_tenants__have_dead_letters(redis_client: redis.Redis) -> None:
    for tenant in ("1", "not a tenant", "x:dead"):
        redis_client.xadd(f"tenant:{tenant}:dead", {"event": b"x"})
    redis_client.xadd("tenant:9:events", {"event": b"x"})
    redis_client.set("tenant:8:dead", "no stream")
    assert sorted(DeadLetterStore(redis_client).tenants()) == ["1", "not a tenant", "x:dead"]


class _Refusing:
    """A projection that raises errors until it is repaired."""

    def __init__(self, projection: Projection) -> None:
        self.projection = projection
        self.broken = True

    def apply(self, entries: Sequence[Entry]) -> None:
        if self.broken:
            raise ValueError("broken")
        self.projection.apply(entries)


def _consumer(client: redis.Redis, group: str, projection: Projection) -> Consumer:
    return Consumer(
        group=ConsumerGroup(client, group, "me"),
        projection=projection,
        ready=ReadyQueue(client, group),
        dead_letters=DeadLetterWriter(client, group),
        sweep=Sweep(client, group, "me"),
    )


@pytest.mark.parametrize("own", ["", ',"event_id":"own"'])
def test_requeue__other_group_had_applied_it__history_holds_it_once(
    redis_client: redis.Redis, database_url: str, own: str
) -> None:
    raw = f'{{"type":"done","id":"a1","result":{{"n":1}}{own}}}'.encode()
    redis_client.xadd(STREAM, {"event": raw})
    with (
        psycopg.connect(database_url, autocommit=True) as connection,
        sessions.connect(database_url, "test") as writer,
    ):
        rows = _consumer(redis_client, "rows", JobRows(lambda: writer))
        broken = _Refusing(StatusCache(redis_client))
        status = _consumer(redis_client, "status", broken)
        stop = threading.Event()
        rows.turn(stop)
        status.turn(stop)
        (letter,) = DeadLetterStore(redis_client).letters("42")
        assert (letter.group, letter.reason) == ("status", "cannot_be_applied")
        assert redis_client.get("tenant:42:job:a1:status") is None

        broken.broken = False
        assert DeadLetterStore(redis_client).requeue(letter)
        rows.turn(stop)
        status.turn(stop)

        held = connection.execute("SELECT event_id, event FROM job_events").fetchall()
        assert held == [("own" if own else letter.entry_id, raw.decode())]
        (row,) = connection.execute("SELECT status, result->>'n' FROM jobs").fetchall()
        assert row == ("DONE", "1")
    document = json.loads(redis_client.get("tenant:42:job:a1:status") or b"{}")
    assert (document["status"], document["result"]) == ("DONE", {"n": 1})
    assert settled(redis_client, "42", "status", "rows")


def test_rows__one_event_that_the_history_refuses__found_and_dead_lettered_alone(
    redis_client: redis.Redis, database_url: str
) -> None:
    with (
        psycopg.connect(database_url, autocommit=True) as connection,
        sessions.connect(database_url, "test") as writer,
    ):
        connection.execute("ALTER TABLE job_events ADD CONSTRAINT none CHECK (type <> 'failed')")
        for number in range(20):
            type_ = "failed" if number == 13 else "done"
            redis_client.xadd(STREAM, {"event": f'{{"type":"{type_}","id":"a{number}"}}'})
        rows = _consumer(redis_client, "rows", JobRows(lambda: writer))
        rows.turn(threading.Event())
        (letter,) = DeadLetterStore(redis_client).letters("42")
        assert letter.reason == "cannot_be_applied"
        ids = "SELECT array_agg(id ORDER BY entry_ms, entry_seq) FROM job_events"
        held = connection.execute(ids).fetchone()
    assert held == ([f"a{number}" for number in range(20) if number != 13],)

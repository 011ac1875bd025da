"""Walks over the dead letters of all tenants: their limits, their order, and going on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis

from consumers.dead_letters.bulk import Outcome, Place, Walk, act_on, group_letters, requeue_letter
from consumers.dead_letters.letter import Letter
from consumers.dead_letters.letter_filter import LetterFilter, detail_form
from consumers.dead_letters.store import DeadLetterStore
from streams.entry_ids import EntryId

ALL = LetterFilter()


def write(client: redis.Redis, tenant: bytes, number: int, **facts: Any) -> None:
    given: dict[Any, Any] = {"event": b"{}", "entry_id": f"{number}-0", "group": "status"}
    given |= {"reason": "r", "detail": "", **facts}
    client.xadd(b"tenant:%b:dead" % tenant, given, id=f"{number}-0")


@pytest.fixture
def store(redis_client: redis.Redis) -> DeadLetterStore:
    return DeadLetterStore(redis_client)


def places(walk: Walk) -> list[tuple[str, int]]:
    return [(letter.tenant, letter.id.ms) for letter in walk]


def test_walks_continue_where_the_last_one_ended(
    redis_client: redis.Redis, store: DeadLetterStore
) -> None:
    for tenant in (b"b", b"\xff", b"a"):
        for number in (3, 4, 5):
            write(redis_client, tenant, number)
    names = ["\udcff", "b", "a", "nobody"]
    found, place = list[tuple[str, int]](), None
    for _ in range(9):
        walk = Walk(store, names, place, max_examined=2)
        found += places(walk)
        place = walk.place
        if place is None:
            break
    assert found == [(tenant, number) for tenant in ("a", "b", "\udcff") for number in (3, 4, 5)]
    assert places(Walk(store, ["a"], Place("a", _id(4)), newest_first=True)) == [("a", 3)]


def test_walk_without_time_gets_one_letter_further(
    redis_client: redis.Redis, store: DeadLetterStore
) -> None:
    for number in (3, 4):
        write(redis_client, b"a", number)
    walk = Walk(store, ["a"], seconds=-1.0)
    assert places(walk) == [("a", 3)]
    assert walk.place == Place("a", _id(3))


def test_groups_are_bounded_and_all_letters_counted(
    redis_client: redis.Redis, store: DeadLetterStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumers.dead_letters.bulk.MAX_GROUPS", 2)
    for number in range(3, 9):
        write(redis_client, b"a", number, reason=f"r{number}")
    found = group_letters(Walk(store, ["a"]), ALL)
    assert (len(found.groups), found.letters) == (2, 6)


def test_lost_server_in_the_middle__the_rest_is_done_by_the_next_step(
    redis_client: redis.Redis, store: DeadLetterStore
) -> None:
    """The reply to the second requeue is lost: it was done, and is not done again."""
    for number in (3, 4, 5):
        write(redis_client, b"a", number)
    walk = Walk(store, ["a"])
    outcomes = act_on(walk, ALL, _losing_the_second_reply(store), 10)
    assert [each.outcome for each in outcomes] == ["requeued", "unknown"]
    assert walk.place == Place("a", _id(3))
    rest = act_on(Walk(store, ["a"], walk.place), ALL, lambda each: requeue_letter(store, each), 10)
    assert [each.outcome for each in rest] == ["requeued"]
    assert redis_client.xlen("tenant:a:events") == 3
    assert redis_client.xlen("tenant:a:dead") == 0


def test_letters_that_redis_refuses__those_behind_them_are_handled_and_each_has_its_reason(
    redis_client: redis.Redis, store: DeadLetterStore
) -> None:
    for tenant in (b"a", b"c", b"d"):
        write(redis_client, tenant, 3)
    redis_client.set("tenant:a:events", "no stream")
    redis_client.set("tenant:b:dead", "no letters")
    redis_client.xadd("tenant:d:events", {"event": "{}"}, id=f"{2**64 - 1}-{2**64 - 1}")
    walk = Walk(store, ["a", "b", "c", "d"])
    outcomes = act_on(walk, ALL, lambda each: requeue_letter(store, each), 10)
    assert [each.outcome for each in outcomes] == ["failed", "requeued", "failed"]
    start = "Redis refuses to append to tenant:"
    assert [each.detail for each in outcomes] == [
        start + "a:events: WRONGTYPE Operation against a key holding the wrong kind of value",
        None,
        start + "d:events: The stream has exhausted the last possible ID, unable to add more items",
    ]
    assert walk.place is None
    assert [redis_client.xlen(f"tenant:{each}:dead") for each in "acd"] == [1, 0, 1]


def test_server_that_refuses_all__nothing_is_counted_as_failed(
    redis_client: redis.Redis, store: DeadLetterStore
) -> None:
    write(redis_client, b"a", 3)
    redis_client.config_set("maxmemory", 1)
    try:
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            act_on(Walk(store, ["a"]), ALL, lambda each: requeue_letter(store, each), 10)
    finally:
        redis_client.config_set("maxmemory", 0)
    assert redis_client.xlen("tenant:a:dead") == 1


def _losing_the_second_reply(store: DeadLetterStore) -> Callable[[Letter], Outcome]:
    done: list[Outcome] = []

    def act(letter: Letter) -> Outcome:
        done.append(requeue_letter(store, letter))
        if len(done) == 2:
            raise redis.TimeoutError("no reply")
        return done[-1]

    return act


def test_filters__numbers_in_details_and_until() -> None:
    assert detail_form("line 1 column 27") == detail_form("line 12 column 3") == "line # column #"
    assert detail_form("가 1") != detail_form("나 1")


@pytest.mark.parametrize("escape", [rb"\ud800", rb"\u0000", rb"\ud83d\ude00"])
def test_groups__events_with_any_escape__name_their_job(
    escape: bytes, redis_client: redis.Redis, store: DeadLetterStore
) -> None:
    event = b'{"type":"done","id":"a1","job_type":"excel","worker":"w","mine":"%b"}' % escape
    write(redis_client, b"a", 3, event=event)
    (group,) = group_letters(Walk(store, ["a"]), LetterFilter(kind="job")).groups
    assert list(group.jobs) == [("a", "job", "a1")]
    assert group.workers == {"w": 1}


def _id(ms: int) -> EntryId:
    return EntryId(ms, 0)

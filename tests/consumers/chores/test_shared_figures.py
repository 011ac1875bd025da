"""Odd values at the keys that consumers and the console share: neither fails."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import pytest
import redis

from consumers.chores.promotions import Promotions
from consumers.dead_letters.store import DeadLetterStore
from ops.operator_view import RedisOperatorView
from projections.decoding import Entry
from streams.keys import Keys
from tests.support.members import Member

KEYS = Keys()
ODD = [
    b"",
    b"x",
    b"null",
    b"[]",
    b"{}",
    b'{"at":"x","groups":[],"tenants":[1]}',
    b"[" * 2000,
    b"\xff",
    b'{"group":"a","name":"b","host":"c","pid":1,"since":1,"beat":%d,"applied":1}' % 9**30,
]

Plant = Callable[[redis.Redis, bytes], object]

PLACES: dict[str, Plant] = {
    "heartbeats": lambda client, odd: client.hset(KEYS.beats(), "status/x", odd),
    "applied": lambda client, odd: client.hset(KEYS.applied(), "other", odd),
    "groups": lambda client, odd: client.sadd(KEYS.groups(), odd),
    "samples": lambda client, odd: client.rpush(KEYS.samples(), odd),
    "behind": lambda client, odd: client.set(KEYS.behind(), odd),
    "activity": lambda client, odd: client.zadd(KEYS.activity("status"), {odd: 5}),
    "database": lambda client, odd: client.set(KEYS.database("rows"), odd),
    "day": lambda client, odd: client.rpush(KEYS.day_samples(), odd),
    "minutes": lambda client, odd: client.rpush(KEYS.tenant_minutes(), odd),
    "ready": lambda client, odd: client.zadd(KEYS.ready("status"), {odd: 5}),
}


@pytest.mark.parametrize("place", PLACES)
def test_an_odd_value_stops_neither_sampling_nor_the_console(
    redis_client: redis.Redis, place: str
) -> None:
    for number, odd in enumerate(ODD):
        PLACES[place](redis_client, odd)
        member = Member(redis_client, f"c{number}")
        member.run()
        view = RedisOperatorView(redis_client, DeadLetterStore(redis_client))
        assert json.dumps(view.samples())
        assert f"c{number}" in {each["name"] for each in view.consumers()}
        assert json.dumps([view.busy_tenants(9), view.late_tenants(), view.dead_tenants()])
        assert json.dumps([view.day_samples(), view.issues(), view.tenant_minutes()])
        member.leave()
        PLACES[place](redis_client, odd)
        assert view.samples()["at"]


class Database:
    """A projection whose database is always the same server."""

    def server(self) -> str:
        return "one"

    def restore(self, entries: Sequence[Entry]) -> int:
        return 0


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_name_of_the_last_database_counts_as_another(
    redis_client: redis.Redis, odd: bytes
) -> None:
    redis_client.set(KEYS.database("rows"), odd)
    chore = Promotions(redis_client, Database(), "rows")
    while chore.due():
        chore.run()
    assert redis_client.get(KEYS.database("rows")) == b"one"

from __future__ import annotations

import json

import pytest
import redis

from api.operators.letters.view import LetterSelection
from consumers.chores.activity import Tally
from consumers.chores.heartbeat import LEFT_MS, MAX_LEFT, Heartbeat, remove_silent
from consumers.chores.minutes import MAX_TENANTS
from consumers.dead_letters.store import DeadLetterStore
from consumers.dead_letters.writer import DeadLetterWriter
from consumers.delivery.groups import ConsumerGroup
from consumers.round_trips import server_ms
from ops.operator_view import RedisOperatorView
from ops.tasks.dead_letters.console_facts import FIELD_BYTES
from projections.decoding import decode
from streams.appender import EventAppender
from streams.entry_ids import EntryId
from streams.keys import Keys
from streams.settings import Settings
from streams.wire import ask
from tests.support.members import Member
from tests.support.servers import RedisFactory
from tests.support.waiting import eventually

DONE = b'{"type":"done","id":"a1"}'


@pytest.fixture
def view(redis_url: str) -> RedisOperatorView:
    return RedisOperatorView.of(Settings(redis_url=redis_url))


def reject(client: redis.Redis, tenant: str, event: bytes) -> None:
    """Deliver an entry to a consumer, which gives it up."""
    client.xadd(Keys().stream(tenant), {"event": event})
    group = ConsumerGroup(client, "status", "me")
    for delivery in group.read([tenant], 10):
        DeadLetterWriter(client, "status").write(delivery, "not_json", "it is none")


def sample(client: redis.Redis, *counts: int) -> None:
    """Take a sample after appending each of these numbers of entries for tenant 42."""
    tally = Tally()
    part = Member(client, tally=tally)
    for count in counts:
        tally.add([decode("42", EntryId(n + 1, 0), [b"event", DONE]) for n in range(count)])
        part.run()


def test_samples_of_nothing_are_empty_columns(view: RedisOperatorView) -> None:
    found = view.samples()
    assert (found["at"], found["dead"]) == ([], 0)
    assert list(found["groups"]) == ["status", "rows"]
    assert found["groups"]["status"]["rate"] == []


def test_samples_give_rates_between_totals(
    view: RedisOperatorView, redis_client: redis.Redis
) -> None:
    sample(redis_client, 5, 7, 0)
    found = view.samples()
    first, second, third = found["groups"]["status"]["rate"]
    seconds = (found["at"][1] - found["at"][0]) / 1000
    assert first is None
    assert second == pytest.approx(7 / seconds if seconds else second, abs=0.01)
    assert third == 0 or found["at"][2] == found["at"][1]


def test_consumers_are_alive_while_they_beat(
    view: RedisOperatorView, redis_client: redis.Redis
) -> None:
    sample(redis_client, 3)
    (beat,) = view.consumers()
    assert (beat["group"], beat["name"], beat["applied"], beat["alive"]) == (
        "status",
        "one",
        3,
        True,
    )


def test_tenants_by_activity_come_with_their_lag_and_dead_letters(
    view: RedisOperatorView, redis_client: redis.Redis
) -> None:
    reject(redis_client, "42", b"bad")
    EventAppender(redis_client).append("42", DONE)
    sample(redis_client, 50)
    (row,) = view.tenants(["42"])
    assert row is not None
    assert (row["tenant"], row["dead"], row["groups"]["status"]["waiting"]) == ("42", 1, 1)
    assert row["per_minute"]["status"] > 0 == row["per_minute"]["rows"]
    assert view.busy_tenants(10) == {"42": row["per_minute"]["status"]}
    assert row["stream"]["entries"] == 2
    assert row["stream"]["bytes"] > 0
    assert view.dead_tenants() == ["42"]


def test_tenants_by_lag_are_those_of_the_last_sample(
    view: RedisOperatorView, redis_client: redis.Redis
) -> None:
    long_ago = f"{server_ms(redis_client) - 60_000}-0"
    redis_client.xadd(Keys().stream("behind"), {"event": DONE}, id=long_ago)
    EventAppender(redis_client).append_many([("at-work", DONE)])
    for tenant in ("behind", "at-work"):
        redis_client.zadd(Keys().ready("status"), {tenant: 1})
    sample(redis_client, 0)
    assert list(view.late_tenants().oldest) == ["behind"]
    (row,) = view.tenants(["behind"])
    assert row is not None
    assert (row["tenant"], row["groups"]["rows"]["waiting"]) == ("behind", 1)
    assert view.busy_tenants(10) == {}


def test_the_samples_of_a_day_come_once_a_minute_with_what_changed(
    view: RedisOperatorView, redis_client: redis.Redis
) -> None:
    redis_client.set(Keys().database("rows"), "one/1")
    sample(redis_client, 1, 1)
    assert len(view.day_samples()["at"]) in (1, 2)
    redis_client.set(Keys().database("rows"), "two/2")
    redis_client.delete(Keys().sampler())
    Member(redis_client, "another").run()
    found = view.samples()
    marks = {mark["what"] for mark in found["marks"]}
    assert {"database_changed", "election", "consumer_started"} <= marks
    assert "redis_changed" not in marks
    assert all(mark["at"] <= found["at"][-1] for mark in found["marks"])


def test_latest_letters_of_all_tenants(view: RedisOperatorView, redis_client: redis.Redis) -> None:
    for tenant in ("a", "b", "a"):
        reject(redis_client, tenant, b"bad")
        now = server_ms(redis_client)  # letters of one millisecond have no order among tenants
        eventually(lambda: server_ms(redis_client) > now)  # noqa: B023 - called at once
    found = view.dead_letters.letters(LetterSelection(), None, 2)
    assert [letter["id"] for letter in found.items] == sorted(
        (
            letter["id"]
            for tenant in "ab"
            for letter in view.dead_letters.letters(LetterSelection(tenant), None, 9).items
        ),
        key=EntryId.parse,
        reverse=True,
    )[:2]
    assert sorted((each["tenant"], each["letters"]) for each in found.tenants) == [
        ("a", 2),
        ("b", 1),
    ]


def test_a_requeued_letter_is_in_the_log_and_gone_here(
    view: RedisOperatorView, redis_client: redis.Redis
) -> None:
    reject(redis_client, "42", DONE)
    (letter,) = view.dead_letters.letters(LetterSelection("42"), None, 10).items
    added = view.dead_letters.requeue("42", letter["id"])
    newest = ask(redis_client, "XREVRANGE", Keys().stream("42"), "+", "-", "COUNT", 1)
    assert newest[0][0].decode() == added
    assert newest[0][1][1].startswith(b'{"type":"done"')
    assert view.dead_letters.letters(LetterSelection("42"), None, 10).items == []
    assert view.dead_letters.requeue("42", letter["id"]) is None
    assert redis_client.zscore(Keys().ready("status"), "42") is not None


def test_a_discarded_letter_is_gone(view: RedisOperatorView, redis_client: redis.Redis) -> None:
    reject(redis_client, "42", DONE)
    (letter,) = view.dead_letters.letters(LetterSelection("42"), None, 10).items
    assert view.dead_letters.discard("42", letter["id"])
    assert not view.dead_letters.discard("42", letter["id"])
    assert view.dead_letters.letter("42", letter["id"]) is None


def test_a_log_of_no_tenant_is_shown_as_such(
    view: RedisOperatorView, redis_client: redis.Redis
) -> None:
    redis_client.xadd(b"tenant:\xff:dead", {"event": b"x", "reason": b"invalid_tenant"})
    sample(redis_client, 0)
    (letter,) = view.dead_letters.letters(LetterSelection(), None, 10).items
    assert (letter["tenant"], letter["known_tenant"]) == ("\\xff", False)


def test_a_large_letter_is_cut_between_characters(
    view: RedisOperatorView, redis_client: redis.Redis
) -> None:
    reject(redis_client, "42", b"x" + "가".encode() * FIELD_BYTES)
    (letter,) = view.dead_letters.letters(LetterSelection("42"), None, 10).items
    shown = view.dead_letters.letter("42", letter["id"])
    assert shown is not None
    assert shown["cut"]
    assert shown["event"]["text"].startswith("x가")
    assert shown["bytes"] == 1 + 3 * FIELD_BYTES


def test_health_names_the_server(view: RedisOperatorView) -> None:
    health = view.health()
    assert "noeviction" in health["description"]
    assert not health["refuses_writes"]
    assert health["used_bytes"] > 0


def test_health_of_a_server_that_refuses_writes__says_so(open_redis: RedisFactory) -> None:
    server = open_redis(persist=False)
    with redis.Redis.from_url(server.url) as client:
        view = RedisOperatorView(client, DeadLetterStore(client))
        for option, value in (("maxmemory", "100kb"), ("min-replicas-to-write", "1")):
            client.config_set(option, value)
            health = view.health()
            assert health["refuses_writes"], option
            assert health["max_bytes"] == (100 * 1024 if option == "maxmemory" else None)
            client.config_set(option, "0")
        assert not view.health()["refuses_writes"]


def test_consumer_that_stopped__is_listed_for_an_hour_and_marked(
    view: RedisOperatorView, redis_client: redis.Redis
) -> None:
    keys = Keys()
    sample(redis_client, 1)
    before = [heartbeat["name"] for heartbeat in view.consumers() if heartbeat["left"] is None]
    stopping = Heartbeat(redis_client, "rows", "stopping", Tally())
    stopping.run()
    stopping.leave()
    (stopped,) = [heartbeat for heartbeat in view.consumers() if heartbeat["left"]]
    assert (stopped["group"], stopped["name"], stopped["alive"]) == ("rows", "stopping", False)
    assert before == [each["name"] for each in view.consumers() if each["left"] is None]
    sample(redis_client, 1)
    assert {"at": stopped["left"], "what": "consumer_stopped"} in view.samples()["marks"]
    remove_silent(redis_client, keys, stopped["left"] + LEFT_MS)
    assert stopped in view.consumers()
    remove_silent(redis_client, keys, stopped["left"] + LEFT_MS + 1)
    assert stopped not in view.consumers()


def test_only_the_consumers_that_stopped_last_are_listed(
    view: RedisOperatorView, redis_client: redis.Redis
) -> None:
    for number in range(MAX_LEFT + 5):
        Heartbeat(redis_client, "rows", f"restarted-{number}", Tally()).leave()
    remove_silent(redis_client, Keys(), server_ms(redis_client))
    assert len(view.consumers()) == MAX_LEFT


def test_a_tenant_that_was_below_a_full_list_is_not_shown_with_all_its_activity(
    view: RedisOperatorView, redis_client: redis.Redis
) -> None:
    others = {f"t{number}": 1_001.0 for number in range(MAX_TENANTS - 1)}
    for at, tenant in ((0, "before"), (60_000, "new")):
        stored = {"at": at, "activity": {**others, tenant: 1_001.0}, "late": {}}
        redis_client.rpush(Keys().tenant_minutes(), json.dumps(stored))
    (minute,) = view.tenant_minutes()
    assert minute["per_minute"]["new"] == minute["per_minute"]["t0"]

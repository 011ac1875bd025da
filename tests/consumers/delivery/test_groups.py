from __future__ import annotations

from itertools import count
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis

from consumers.dead_letters.writer import DeadLetterWriter
from consumers.delivery.deliveries import Delivery
from consumers.delivery.group_states import group_states
from consumers.delivery.groups import ConsumerGroup
from streams.connection import connect
from streams.entry_ids import EntryId
from tests.support.groups import entries, group_info, pending
from tests.support.proxy import Proxy
from tests.support.waiting import eventually

STREAM = "tenant:42:events"


def add(client: redis.Redis, *ids: str) -> None:
    for entry_id in ids:
        client.xadd(STREAM, {"event": b'{"type":"done","id":"a1"}'}, id=entry_id)


def ids(deliveries: list[Delivery]) -> list[str]:
    return [delivery.id.decode() for delivery in deliveries]


def test_read_makes_the_group_at_the_beginning(client: redis.Redis) -> None:
    add(client, "1-1", "2-1")
    group = ConsumerGroup(client, "status", "me")
    assert ids(group.read(["42"], 10)) == ["1-1", "2-1"]


def test_read_of_a_missing_stream_is_empty(redis_client: redis.Redis) -> None:
    """Runs on the real server alone: the fake answers XREADGROUP with the error of XGROUP."""
    assert ConsumerGroup(redis_client, "status", "me").read(["nobody"], 10) == []
    assert redis_client.exists("tenant:nobody:events") == 0


def test_read_heals_a_destroyed_group_among_others(client: redis.Redis) -> None:
    add(client, "1-1")
    client.xadd("tenant:43:events", {"event": b"x"}, id="7-1")
    group = ConsumerGroup(client, "status", "me")
    group.acknowledge(group.read(["42", "43"], 10))
    client.xgroup_destroy(STREAM, "status")
    add(client, "2-1")
    assert ids(group.read(["43", "42"], 10)) == ["1-1", "2-1"]


def test_read_gives_each_tenant_its_quantum(client: redis.Redis) -> None:
    add(client, "1-1", "2-1", "3-1")
    client.xadd("tenant:43:events", {"event": b"x"}, id="7-1")
    deliveries = ConsumerGroup(client, "status", "me").read(["42", "43"], 2)
    assert [(one.tenant, one.id) for one in deliveries] == [
        *(("42", b"1-1"), ("42", b"2-1")),
        ("43", b"7-1"),
    ]


def test_acknowledged_deliveries_are_no_longer_pending(client: redis.Redis) -> None:
    add(client, "1-1", "2-1")
    group = ConsumerGroup(client, "status", "me")
    deliveries = group.read(["42"], 10)
    group.acknowledge(deliveries[:1])
    assert pending(client, "42", "status") == 1


def test_read_again_gives_what_a_lost_reply_left_behind(client: redis.Redis) -> None:
    add(client, "1-1", "2-1")
    group = ConsumerGroup(client, "status", "me")
    group.acknowledge(group.read(["42"], 10)[:1])
    assert [ids(batch) for batch in group.read_again(10)] == [["2-1"]]


def test_claim_follows_the_cursor_through_all_that_is_pending(client: redis.Redis) -> None:
    add(client, *(f"{number}-1" for number in range(1, 251)))
    ConsumerGroup(client, "status", "dead").read(["42"], 1_000)
    claimed = ConsumerGroup(client, "status", "me").claim("42", 0)
    assert len(claimed.deliveries) == 250
    assert claimed.deleted == 0


def test_claim_leaves_what_is_not_old_enough(client: redis.Redis) -> None:
    add(client, "1-1")
    ConsumerGroup(client, "status", "slow").read(["42"], 10)
    assert ConsumerGroup(client, "status", "me").claim("42", 60).deliveries == []


def test_claim_counts_what_was_trimmed_while_pending(redis_client: redis.Redis) -> None:
    add(redis_client, "1-1", "2-1")
    ConsumerGroup(redis_client, "status", "dead").read(["42"], 10)
    redis_client.xdel(STREAM, "1-1")
    claimed = ConsumerGroup(redis_client, "status", "me").claim("42", 0)
    assert (ids(claimed.deliveries), claimed.deleted) == (["2-1"], 1)


def test_hold_counts_no_delivery(redis_client: redis.Redis) -> None:
    add(redis_client, "1-1")
    group = ConsumerGroup(redis_client, "status", "me")
    deliveries = group.read(["42"], 10)
    for _ in range(10):
        group.renew(deliveries)
    found: Any = redis_client.xpending_range(STREAM, "status", "-", "+", 10)
    assert found[0]["times_delivered"] == 1


def test_leave_keeps_the_name_where_something_is_pending(redis_client: redis.Redis) -> None:
    add(redis_client, "1-1")
    redis_client.xadd("tenant:43:events", {"event": b"x"}, id="7-1")
    group = ConsumerGroup(redis_client, "status", "me")
    deliveries = group.read(["42", "43"], 10)
    group.acknowledge(deliveries[1:])
    group.leave()
    names: Any = [row["name"] for row in redis_client.xinfo_consumers(STREAM, "status")]
    assert names == [b"me"]
    assert redis_client.xinfo_consumers("tenant:43:events", "status") == []


@pytest.mark.parametrize("reply", range(1, 5))
def test_leave__read_that_was_given_up_arrives_after_any_reply__loses_nothing(
    redis_client: redis.Redis, reply: int
) -> None:
    seen = count(1)

    class Connection(redis.Connection):
        def read_response(self, *args: Any, **options: Any) -> Any:
            found = super().read_response(*args, **options)
            if leaving and next(seen) == reply:
                redis_client.xreadgroup("status", "me", {STREAM: ">"})
            return found

    leaving = False
    add(redis_client, "1-1")
    pool = redis.ConnectionPool(
        connection_class=Connection, **redis_client.connection_pool.connection_kwargs
    )
    with redis.Redis(connection_pool=pool) as client:
        group = ConsumerGroup(client, "status", "me")
        group.acknowledge(group.read(["42"], 10))
        add(redis_client, "2-1")
        leaving = True
        group.leave()
    info = group_info(redis_client, "42", "status")
    assert info is not None
    assert info["pending"] + info["lag"] == 1


def test_read_again__deleted_and_quiet_tenants__are_not_read_another_time(
    redis_client: redis.Redis,
) -> None:
    group = ConsumerGroup(redis_client, "status", "me")
    for tenant in ("busy", "deleted", "quiet"):
        redis_client.xadd(f"tenant:{tenant}:events", {"event": b"x"})
    deliveries = group.read(["busy", "deleted", "quiet"], 10)
    group.acknowledge([each for each in deliveries if each.tenant == "quiet"])
    redis_client.delete("tenant:deleted:events")
    for readers in (3, 1):
        before = reads(redis_client)
        assert [[each.tenant for each in batch] for batch in group.read_again(10)] == [["busy"]]
        # The stream with entries is read until there are no more.
        assert reads(redis_client) - before == readers + 1
    group.leave()
    assert redis_client.xinfo_consumers("tenant:quiet:events", "status") == []


def test_read_again__of_some_tenants__leaves_none_out_of_the_next_recovery(
    client: redis.Redis,
) -> None:
    """A request for them may be in flight."""
    add(client, "1-1")
    group = ConsumerGroup(client, "status", "me")
    group.acknowledge(group.read(["42"], 10))
    assert list(group.read_again(10, ["42"])) == []
    add(client, "2-1")
    ConsumerGroup(client, "status", "me").read(["42"], 10)  # the request, whose reply is lost
    assert [ids(batch) for batch in group.read_again(10)] == [["2-1"]]


def test_claim_whose_reply_is_lost__is_read_again(
    redis_url: str, redis_client: redis.Redis
) -> None:
    add(redis_client, "1-1")
    ConsumerGroup(redis_client, "status", "dead").read(["42"], 10)
    port = urlsplit(redis_url).port or 6379
    with Proxy(port) as proxy, connect(redis_url.replace(f":{port}", f":{proxy.port}")) as mine:
        group = ConsumerGroup(mine, "status", "me")
        proxy.sever_reply_to(b"XAUTOCLAIM")
        with pytest.raises(redis.ConnectionError):
            group.claim("42", 0)
        eventually(lambda: [ids(batch) for batch in group.read_again(10)] == [["1-1"]])
        group.leave()
        group.acknowledge(delivery for batch in group.read_again(10) for delivery in batch)
        group.leave()
    names = [row["name"] for row in redis_client.xinfo_consumers(STREAM, "status")]
    assert names == [b"dead"]


def reads(client: redis.Redis) -> int:
    """Return how often the server ran XREADGROUP."""
    found: Any = client.info("commandstats")
    return sum(int(row["calls"]) for name, row in found.items() if name == "cmdstat_xreadgroup")


def test_group_states_of_streams_with_and_without_groups(client: redis.Redis) -> None:
    add(client, "9-1", "10-1")
    ConsumerGroup(client, "status", "me").read(["42"], 1)
    (state,), nothing = group_states(client, [STREAM.encode(), b"tenant:nobody:events"])
    assert nothing == []
    assert (state.name, state.pending, state.last_delivered) == ("status", 1, EntryId(9, 1))


def test_dead_letter_has_all_that_is_known_and_is_acknowledged(redis_client: redis.Redis) -> None:
    redis_client.xadd(STREAM, {"event": b"\xff\x00raw"}, id="5-1")
    (delivery,) = ConsumerGroup(redis_client, "status", "me").read(["42"], 10)
    DeadLetterWriter(redis_client, "status").write(delivery, "not_json", "two\nlines  of detail")
    (letter,) = entries(redis_client, "tenant:42:dead")
    assert int(letter.pop("at")) > 1_600_000_000_000
    assert [letter] == [
        {
            "event": b"\xff\x00raw",
            "entry_id": b"5-1",
            "group": b"status",
            "reason": b"not_json",
            "detail": b"two lines of detail",
            "deliveries": b"1",
        }
    ]
    assert pending(redis_client, "42", "status") == 0


@pytest.mark.parametrize("fields", [{"other": "x"}, {"other": "x", "more": "y"}])
def test_dead_letter_without_event_keeps_the_fields_found(
    redis_client: redis.Redis, fields: dict[Any, Any]
) -> None:
    redis_client.xadd(STREAM, fields, id="5-1")
    (delivery,) = ConsumerGroup(redis_client, "status", "me").read(["42"], 10)
    DeadLetterWriter(redis_client, "status").write(delivery, "no_event_field", "none")
    (letter,) = entries(redis_client, "tenant:42:dead")
    assert letter["event"] == b""
    assert {
        f"found:{name}": text.encode() for name, text in fields.items()
    }.items() <= letter.items()

"""Appends to a real Redis Cluster: which node they go to, and what interrupts them."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Iterator
from functools import partial
from itertools import count
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest
import redis

from streams.appender import AsyncEventAppender, EventAppender
from streams.async_cluster import AsyncCluster
from streams.async_reporter import AsyncReporter
from streams.cluster import Cluster
from streams.connection import (
    LogUnavailable,
    connect,
    connect_async,
)
from streams.durability import NotDurable
from streams.entry_ids import EntryId
from streams.reporter import Reporter
from streams.routing import key_of
from streams.servers.members import most_replicas
from streams.servers.slots import SLOTS, SlotMap, slot_of
from streams.shedding import SHED, shed_counts
from streams.wire import Command, PendingReplies, ask, checked, round_trip
from tests.ops.test_cli import jobtrail, plain_failure
from tests.support.clusters import HASTY_MS, RedisCluster, redis_cluster
from tests.support.servers import RedisFactory
from tests.support.waiting import eventually

DONE = {"type": "done", "id": "a1"}
TENANTS = [f"tenant-{number}" for number in range(30)]


@pytest.fixture
def client(cluster: RedisCluster) -> Iterator[Cluster]:
    for node in cluster.primaries:
        node.ask("FLUSHALL")
    found = connect(cluster.url, timeout=1, connect_timeout=1)
    assert isinstance(found, Cluster)
    yield found
    found.close()


def stream(tenant: str) -> str:
    return f"tenant:{{{tenant}}}:events"


def stored(cluster: RedisCluster, tenant: str) -> list[EntryId]:
    entries = cluster.owner(stream(tenant)).ask("XRANGE", stream(tenant), "-", "+")
    return [EntryId.parse(entry_id.decode()) for entry_id, _ in entries]


def tenants_of(cluster: RedisCluster, node: object) -> list[str]:
    return [name for name in TENANTS if cluster.owner(stream(name)) is node]


@pytest.mark.parametrize(
    ("key", "tag"),
    [
        ("tenant:{42}:events", "42"),
        ("tenant:{}:events", "tenant:{}:events"),
        ("{a}{b}", "a"),
        ("{{a}}", "{a"),
        ("a}{b}", "b"),
        ("a{", "a{"),
    ],
)
def test_slot__is_the_one_of_the_server(cluster: RedisCluster, key: str, tag: str) -> None:
    asked = cluster.primaries[0].ask("CLUSTER", "KEYSLOT", key)
    assert slot_of(key) == slot_of(key.encode()) == slot_of(tag) == asked < SLOTS


def test_many_tenants__are_appended_and_marked_on_their_nodes(
    cluster: RedisCluster, client: Cluster
) -> None:
    events = [(name, DONE) for name in TENANTS] * 3
    ids = EventAppender(client).append_many(events)
    for number, name in enumerate(TENANTS):
        assert stored(cluster, name) == ids[number :: len(TENANTS)]
    for node in cluster.primaries:
        for group in ("status", "rows"):
            (queue,) = node.ask("KEYS", f"jobtrail:*:ready:{group}")
            marked = {name.decode() for name in node.ask("ZRANGE", queue.decode(), 0, -1)}
            assert marked == set(tenants_of(cluster, node)) != set()


def test_asyncio_and_the_reporter__append_likewise(cluster: RedisCluster) -> None:
    async def append() -> list[EntryId]:
        found = connect_async(cluster.url)
        assert isinstance(found, AsyncCluster)
        appender = AsyncEventAppender(found)
        ids = await appender.append_many([(name, DONE) for name in TENANTS])
        ids.append(await appender.append(TENANTS[0], DONE))
        await found.aclose()
        return ids

    ids = asyncio.run(append())
    assert all(ids[number] in stored(cluster, name) for number, name in enumerate(TENANTS))
    assert ids[-1] in stored(cluster, TENANTS[0])
    before = len(stored(cluster, TENANTS[1]))
    with Reporter.from_url(cluster.url) as reporter:
        for attempt in (1, 2):
            with reporter.job("a2", tenant=TENANTS[1], attempt="next") as job:
                job.done()
            assert job.attempt == attempt
    asyncio.run(reported(cluster.url))
    assert len(stored(cluster, TENANTS[1])) == before + 6


async def reported(url: str) -> None:
    async with (
        AsyncReporter.from_url(url) as reporter,
        reporter.job("a3", tenant=TENANTS[1]) as job,
    ):
        await job.done()


def test_library_methods__return_what_they_do_on_one_server(
    client: Cluster, cluster: RedisCluster
) -> None:
    """Also those which pass options that the library's own clients take out of their replies."""

    async def asked() -> list[Any]:
        found = connect_async(cluster.url)
        await found.sadd("{a}set", "x")
        replies = [
            await found.hgetall("{a}hash"),
            await found.smembers("{a}set"),
            await found.hget("{a}hash", "x"),
            await found.xrange("{a}stream"),
            await found.zscore("{a}zset", "x"),
            await found.exists("{a}set"),
        ]
        await found.aclose()
        return replies

    expected: list[Any] = [{}, {b"x"}, None, [], None, 1]
    assert asyncio.run(asked()) == expected
    assert [
        client.hgetall("{a}hash"),
        client.smembers("{a}set"),
        client.hget("{a}hash", "x"),
        client.xrange("{a}stream"),
        client.zscore("{a}zset", "x"),
        client.exists("{a}set"),
    ] == expected


def test_slot_map__is_read_once_for_concurrent_coroutines(cluster: RedisCluster) -> None:
    def readings() -> int:
        info = [node.ask("INFO", "commandstats").decode() for node in cluster.primaries]
        calls = [re.search(r"cmdstat_cluster\|slots:calls=(\d+)", each) for each in info]
        return sum(int(each[1]) for each in calls if each)

    async def read() -> int:
        found = connect_async(cluster.url)
        before = readings()
        await asyncio.gather(*(found.get(f"key-{number}") for number in range(50)))
        await found.aclose()
        return readings() - before

    assert asyncio.run(read()) == 1


def test_slot_without_a_node__has_the_map_read_again(cluster: RedisCluster) -> None:
    """Also after a transaction."""
    refused = [redis.exceptions.ClusterDownError("CLUSTERDOWN The cluster is down")]

    async def run() -> bool:
        found = connect_async(cluster.url)
        assert isinstance(found, AsyncCluster)
        assert await found.run_transaction([("SET", "a", "1"), ("GET", "a")]) == [b"OK", b"1"]
        assert not found.is_outdated
        # A fault of the whole cluster would last longer than this test.
        found._send_to = AsyncMock(return_value=refused)  # type: ignore[method-assign]
        with pytest.raises(redis.exceptions.ClusterDownError):
            await found.run_transaction([("SET", "a", "1")])
        outdated = found.is_outdated
        await found.aclose()
        return outdated

    assert asyncio.run(run())


def test_close__one_node_that_fails__closes_the_others(cluster: RedisCluster) -> None:
    async def close() -> None:
        found = connect_async(cluster.url)
        assert isinstance(found, AsyncCluster)
        await asyncio.gather(*(found.get(f"key-{number}") for number in range(50)))
        first, *others = found.nodes.values()
        first.aclose = AsyncMock(side_effect=OSError("x"))  # type: ignore[method-assign]
        with pytest.raises(OSError, match="x"):
            await found.aclose()
        await first.connection_pool.disconnect()
        pools: list[Any] = [node.connection_pool for node in others]
        assert not any(each.is_connected for pool in pools for each in pool._available_connections)

    asyncio.run(close())
    found = connect(cluster.url)
    assert isinstance(found, Cluster)
    for number in range(50):
        found.get(f"key-{number}")
    first, *others = found.nodes.values()
    first.close = Mock(side_effect=OSError("x"))  # type: ignore[method-assign]
    with pytest.raises(OSError, match="x"):
        found.close()
    first.connection_pool.disconnect()
    pools: list[Any] = [node.connection_pool for node in others]
    assert not any(each._sock for pool in pools for each in pool._available_connections)


def test_durable_append__waits_for_the_replicas_of_its_node(
    cluster: RedisCluster, client: Cluster
) -> None:
    appender = EventAppender(client, durable_seconds=0.3)
    appender.append_many([(name, DONE) for name in TENANTS], durable=True)
    waits = [node.ask("INFO", "commandstats").count(b"cmdstat_wait:") for node in cluster.primaries]
    assert waits == [1, 0, 0]
    replicated = tenants_of(cluster, cluster.primaries[0])[0]
    os.kill(cluster.replicas[0].pid, signal.SIGSTOP)
    try:
        with pytest.raises(NotDurable, match="0 of 1 replicas"):
            appender.append(replicated, DONE, durable=True)
        appender.append(tenants_of(cluster, cluster.primaries[1])[0], DONE, durable=True)
    finally:
        os.kill(cluster.replicas[0].pid, signal.SIGCONT)


def test_slot_that_moves__is_followed(cluster: RedisCluster, client: Cluster) -> None:
    """Before, during and after the move of its keys, blocking and with asyncio."""
    appender = EventAppender(client)
    tenant = tenants_of(cluster, cluster.primaries[1])[0]
    target = cluster.primaries[2]
    ids = [appender.append(tenant, DONE)]

    async def append() -> None:
        for durable in (False, True):
            ids.append(await AsyncEventAppender(other).append(tenant, DONE, durable=durable))

    other = connect_async(cluster.url)
    assert isinstance(other, AsyncCluster)
    with asyncio.Runner() as loop:
        loop.run(append())
        source = cluster.begin_move(stream(tenant), target)
        ids.append(appender.append(tenant, DONE))
        cluster.move_keys(stream(tenant), source, target)
        ids += [appender.append(tenant, DONE, durable=durable) for durable in (False, True)]
        loop.run(append())
        cluster.end_move(stream(tenant), target)
        loop.run(append())
        ids += [appender.append(tenant, DONE) for _ in range(2)]
        assert stored(cluster, tenant) == ids
        assert len(target.ask("XRANGE", stream(tenant), "-", "+")) == len(ids)
        loop.run(other.aclose())


def test_ready_queue_that_has_moved__gets_the_mark_of_one_append(
    cluster: RedisCluster, client: Cluster
) -> None:
    """The entry and the mark are sent together, by a slot map that is true for the entry only."""
    tenant = tenants_of(cluster, cluster.primaries[0])[0]
    EventAppender(client).append(tenant, DONE)
    tag = client.tag_of(stream(tenant))
    queue = f"jobtrail:{{{tag}}}:ready:rows"
    source = cluster.begin_move(queue, cluster.primaries[1])
    cluster.move_keys(queue, source, cluster.primaries[1])
    cluster.end_move(queue, cluster.primaries[1])
    cluster.primaries[1].ask("DEL", queue)
    EventAppender(client).append(tenant, DONE)
    assert cluster.primaries[1].ask("ZRANGE", queue, 0, -1) == [tenant.encode()]
    assert len(stored(cluster, tenant)) == 2
    assert client.is_outdated


def test_node_without_a_ready_queue__is_no_home() -> None:
    """Its marks have another node, so that they are not sent with the entry."""
    slots = SlotMap([[0, 0, [b"a", 1]], [2, SLOTS - 1, [b"b", 2]]], ("c", 3))
    keys = {slot: next(filter(partial(is_in, slot), map(str, count()))) for slot in range(3)}
    assert [slots.node_of(slot) for slot in keys] == [("a", 1), None, ("b", 2)]
    assert [slots.home_of(key) for key in keys.values()] == [None, None, ("b", 2)]
    assert slots.tag_of(keys[0]) == slots.tag_of(keys[1]) == "q0"


def is_in(slot: int, key: str) -> bool:
    return slot_of(key) == slot


def test_node_that_hangs__stops_no_other(cluster: RedisCluster, client: Cluster) -> None:
    appender = EventAppender(client)
    frozen = cluster.primaries[2]
    there, elsewhere = (tenants_of(cluster, node)[0] for node in (frozen, cluster.primaries[1]))
    appender.append(elsewhere, DONE)
    os.kill(frozen.pid, signal.SIGSTOP)
    try:
        with pytest.raises(LogUnavailable):
            appender.append(there, DONE)
        assert client.candidates()[-1] == ("127.0.0.1", frozen.port)
        for _ in range(3):
            appender.append(elsewhere, DONE)
    finally:
        os.kill(frozen.pid, signal.SIGCONT)

    def appends() -> bool:
        try:
            return bool(appender.append(there, DONE))
        except LogUnavailable:
            return False

    eventually(appends, 30, "an append to the node that goes on")


def test_primary_that_was_killed__is_replaced_by_its_replica() -> None:
    """The promoted replica needs as many replicas as the primary had."""
    with redis_cluster(timeout_ms=HASTY_MS) as found:
        client = connect(found.url, timeout=1, connect_timeout=1)
        assert isinstance(client, Cluster)
        appender = EventAppender(client, durable_seconds=0.3)
        lost, other = (tenants_of(found, node)[0] for node in found.primaries[:2])
        ids = [appender.append(lost, DONE, durable=True)]
        found.primaries[0].kill()

        def appends() -> bool:
            appender.append(other, DONE)
            try:
                ids.append(appender.append(lost, DONE))
            except LogUnavailable:
                return False
            return True

        eventually(appends, 30, "an append to the promoted replica")
        assert stored(found, lost) == ids
        with pytest.raises(NotDurable):
            appender.append(lost, DONE, durable=True)
        client.close()


def test_full_streams__take_no_more_progress(cluster: RedisCluster, client: Cluster) -> None:
    """Blocking and with asyncio, by nodes that have lost the script; ends are appended."""
    event = {"type": "progress", "id": "a1", "extra": {"text": "x" * 4_000}}
    events = [(name, event) for name in TENANTS] * 4 + [(name, DONE) for name in TENANTS]
    appender = EventAppender(client, max_stream_bytes=20_000)
    ids = appender.append_many(events, durable=True)
    node = cluster.primaries[1]
    node.ask("SCRIPT", "FLUSH")

    async def append() -> list[EntryId]:
        async with connect_async(cluster.url) as other:
            capped = AsyncEventAppender(other, max_stream_bytes=20_000)
            return await capped.append_many(events, durable=True)

    ids += asyncio.run(append())
    counts = shed_counts(client)
    for number, name in enumerate(TENANTS):
        appended = [each for each in ids[number :: len(TENANTS)] if each != SHED]
        assert sorted(appended) == stored(cluster, name)
        assert counts[name] == 10 - len(appended) > 0
        assert ids[len(TENANTS) * 4 + number] in appended
    for group in ("status", "rows"):
        queues = node.ask("KEYS", f"jobtrail:*:ready:{group}")
        assert {each.decode() for queue in queues for each in node.ask("ZRANGE", queue, 0, -1)} == {
            *tenants_of(cluster, node)
        }


def test_append_command__appends(cluster: RedisCluster, open_redis: RedisFactory) -> None:
    lines = b'{"type":"queued","id":"a3"}\n{"type":"done","id":"a3"}'
    before = len(stored(cluster, "cli"))
    ran = jobtrail("append", "--tenant", "cli", stdin=lines, redis_url=cluster.url)
    assert ran.returncode == 0, ran.stderr
    assert len(stored(cluster, "cli")) == before + 2
    away = jobtrail("append", "--tenant", "cli", stdin=lines, redis_url="redis+cluster://[::1]:1")
    assert "no node of the cluster at ::1:1" in plain_failure(away)
    login = open_redis(persist=False).url.removeprefix("redis://").removesuffix("/0")
    single = jobtrail(
        "append", "--tenant", "cli", stdin=lines, redis_url=f"redis+cluster://{login}"
    )
    assert "not a node of a cluster" in plain_failure(single)


def test_nodes_that_cannot_be_used__are_named(open_redis: RedisFactory) -> None:
    away = connect("redis+cluster://:hunter2@127.0.0.1:1,[::1]:2")
    with pytest.raises(LogUnavailable, match="no node of the cluster at") as raised:
        EventAppender(away).append("42", DONE)
    assert "hunter2" not in str(raised.value)
    single = open_redis(persist=False)
    login = single.url.removeprefix("redis://").removesuffix("/0")
    with pytest.raises(LogUnavailable, match="not a node of a cluster"):
        EventAppender(connect(f"redis+cluster://{login}")).append("42", DONE)
    wrong = f"redis+cluster://:hunter2@127.0.0.1:{single.port}"
    with pytest.raises(LogUnavailable) as refused:
        EventAppender(connect(wrong)).append("42", DONE)
    assert isinstance(refused.value.__cause__, redis.AuthenticationError)


@pytest.mark.parametrize(
    ("command", "key"),
    [
        (("XADD", "a", "*", "event", b"{}"), "a"),
        (("EVALSHA", "digest", 2, "a", "b", 1), "a"),
        (("EVAL", b"return 1", 1, b"a"), b"a"),
        (("XINFO", "GROUPS", "a"), "a"),
        (("XGROUP", "CREATE", "a", "STREAMS", "0"), "a"),
        (("MEMORY", "USAGE", "a", "SAMPLES", 0), "a"),
        (("XREAD", "COUNT", 1, "STREAMS", "a", "0-0"), "a"),
        (("XREADGROUP", "GROUP", "STREAMS", "STREAMS", "COUNT", 1, "STREAMS", "a", ">"), "a"),
        (("TIME",), ""),
    ],
)
def test_key__is_found_in_every_command(command: Command, key: str | bytes) -> None:
    assert key_of(command) == key


def test_sent_commands__are_answered_in_their_order(cluster: RedisCluster, client: Cluster) -> None:
    """Whichever nodes have their keys, and while others use the client."""
    names = [f"key-{number}" for number in range(30)]
    checked(round_trip(client, [("SET", name, name) for name in names]))
    with PendingReplies(client, [("GET", name) for name in names]) as first:
        second = PendingReplies(client, [("GET", name) for name in reversed(names)])
        assert first.replies() == [name.encode() for name in names]
        assert second.replies() == [name.encode() for name in reversed(names)]
    with PendingReplies(client, [("GET", name) for name in names]):
        pass
    assert [client.get(name) for name in names] == [name.encode() for name in names]
    assert client.set("key-0", "1") is True
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        ask(client, "LPUSH", "key-0", "x")


def test_script__runs_on_the_node_of_its_key(cluster: RedisCluster, client: Cluster) -> None:
    """A slot that moves, and a node that has lost the script, change nothing."""
    script = client.register_script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
    key = next(name for name in TENANTS if cluster.owner(name) is cluster.primaries[1])
    target = cluster.primaries[0]
    assert script(keys=[key], args=[2]) == 2
    source = cluster.begin_move(key, target)
    cluster.move_keys(key, source, target)
    assert script(keys=[key.encode()], args=[3]) == 5
    cluster.end_move(key, target)
    target.ask("SCRIPT", "FLUSH")
    assert script(keys=[key], args=[1]) == 6
    with pytest.raises(redis.ResponseError, match="not an integer"):
        script(keys=[key], args=["x"])


def test_replicas_of_a_primary__are_its_own_and_lost_nodes_without_slots() -> None:
    """By its own list; a replica of another primary, and a node that was forgotten, are none."""
    rows = [
        "a1 127.0.0.1:1@11 myself,master - 0 0 1 connected 0-5460",
        "a2 127.0.0.1:2@12 slave a1 0 0 1 connected",
        "a3 127.0.0.1:3@13 slave,fail a1 0 0 1 disconnected",
        "b1 127.0.0.1:4@14 master - 0 0 2 connected 5461-16383",
        "b2 127.0.0.1:5@15 slave b1 0 0 2 connected",
        "c1 127.0.0.1:6@16 master,fail - 0 0 3 disconnected",
    ]
    assert most_replicas("\n".join(rows)) == 3
    assert most_replicas("\n".join(rows[:1] + rows[3:5])) == 0

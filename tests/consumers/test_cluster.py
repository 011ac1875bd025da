"""Parts of a consumer on a real Redis Cluster."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator

import pytest
import redis

from consumers.chores.retention.trimming import trim
from consumers.chores.sweep.chore import Sweep
from consumers.chores.sweep.known_streams import FORGET_SECONDS, KnownStreams
from consumers.composition import build
from consumers.dead_letters.store import DeadLetterStore
from consumers.dead_letters.tenants import DeadTenants, dead_counts
from consumers.dead_letters.trials import TRIAL_STEP
from consumers.dead_letters.writer import DeadLetterWriter
from consumers.delivery.groups import ConsumerGroup
from consumers.delivery.ready import ReadyQueue, shortest_ready
from consumers.round_trips import server_ms
from streams.appender import EventAppender
from streams.cluster import Cluster, keys_of
from streams.connection import SOCKET_TIMEOUT, LogUnavailable, connect
from streams.discovery import START, scan_streams, tenants
from streams.keys import JobKey
from streams.settings import Settings
from streams.wire import Command, ask, checked, round_trip
from tests.support.clusters import HASTY_MS, RedisCluster, redis_cluster
from tests.support.processes import frozen
from tests.support.waiting import eventually

DONE = {"type": "done", "id": "a1"}
TENANTS = [f"tenant-{number}" for number in range(30)]


@pytest.fixture
def client(cluster: RedisCluster) -> Iterator[Cluster]:
    for node in cluster.primaries:
        node.ask("FLUSHALL")
    found = connect(cluster.url)
    assert isinstance(found, Cluster)
    found.read_map()
    yield found
    found.close()


def test_marked_tenants_of_all_nodes__are_leased_and_finished(client: Cluster) -> None:
    ready = ReadyQueue(client, "status")
    EventAppender(client).append_many([(name, DONE) for name in TENANTS])
    assert shortest_ready(client, ["status", "rows"], keys_of(client)) == len(TENANTS)
    lease = ready.take(100, 0)
    assert sorted(lease.tenants) == sorted(TENANTS)
    assert len(lease.parts) == 3
    assert ready.take(100, 0).tenants == []
    ready.finish(lease, more=TENANTS[:5])
    assert sorted(ready.take(100, 0).tenants) == sorted(TENANTS[:5])
    ready.mark(TENANTS)
    assert len(ready.take(6, 0).tenants) == 6


def test_waiting_consumer__is_woken_by_each_node(cluster: RedisCluster, client: Cluster) -> None:
    ready, appender = ReadyQueue(client, "status"), EventAppender(connect(cluster.url))
    keys, taken = keys_of(client), list[str]()

    def take() -> None:
        while len(taken) < len(TENANTS):
            lease = ready.take(10, 4.0)
            taken.extend(lease.tenants)
            ready.finish(lease, more=[])

    waiting = threading.Thread(target=take)
    waiting.start()
    for number, name in enumerate(TENANTS):
        owner = cluster.owner(keys.stream(name))
        eventually(lambda: b"blocked_clients:1" in owner.ask("INFO", "clients"))  # noqa: B023
        appender.append(name, DONE)
        eventually(lambda: len(taken) == number + 1)  # noqa: B023
    waiting.join()
    assert taken == TENANTS


def test_waiting__goes_on_while_a_queue_moves(cluster: RedisCluster, client: Cluster) -> None:
    """The wait on it is refused; the queues of the other nodes still wake."""
    ready, keys = ReadyQueue(client, "status"), keys_of(client)
    moved, other = (
        next(each for each in TENANTS if cluster.owner(keys.stream(each)) is node)
        for node in cluster.primaries[1:]
    )
    queue = keys.ready_of("status", moved)
    source = cluster.begin_move(queue, cluster.primaries[0])
    with connect(cluster.url) as adding:
        appending = threading.Timer(0.2, EventAppender(adding).append, (other, DONE))
        appending.start()
        assert ready.take(10, 4.0).tenants == [other]
        appending.join()
        cluster.move_keys(queue, source, cluster.primaries[0])
        cluster.end_move(queue, cluster.primaries[0])
        client.read_map()
        EventAppender(client).append(moved, DONE)
    assert ready.take(10, 4.0).tenants == [moved]


def test_scan__finds_the_streams_of_all_nodes(cluster: RedisCluster, client: Cluster) -> None:
    """Those without a hash tag are none of a tenant."""
    EventAppender(client).append_many([(name, DONE) for name in TENANTS])
    ask(client, "XADD", "tenant:untagged:events", "*", "event", b"{}")
    assert tenants(client, keys_of(client)) == sorted(TENANTS)
    cursor, names = scan_streams(client, START)
    assert cursor.endswith(b" 0")
    assert {cluster.owner(name.decode()) for name in names} == {
        next(node for node in cluster.primaries if str(node.port).encode() in min(labels(cluster)))
    }
    for lost in (b"127.0.0.1:1 17", b"gone"):  # a node that is no primary any more
        assert scan_streams(client, lost) == (cursor, names)


def labels(cluster: RedisCluster) -> list[bytes]:
    return [f"127.0.0.1:{node.port}".encode() for node in cluster.primaries]


def test_sweep__marks_the_tenants_of_raw_appends(client: Cluster) -> None:
    """New streams, and known ones with news; and a queue whose marks were lost."""
    keys, ready = keys_of(client), ReadyQueue(client, "status")
    sweep = Sweep(client, "status", "c1", interval_seconds=0.01)
    for _ in range(2):
        commands: list[Command] = [
            ("XADD", keys.stream(name), "*", "event", b'{"type":"done","id":"a1"}')
            for name in TENANTS
        ]
        checked(round_trip(client, commands))
        marked = set[str]()

        def all_are_marked(marked: set[str] = marked) -> bool:
            sweep.run()
            lease = ready.take(100, 0)
            ready.finish(lease, more=[])
            marked.update(lease.tenants)
            return len(marked) == len(TENANTS)

        eventually(all_are_marked)
    sweep.leave()


def test_sweep__node_that_scan_skips__has_its_streams_stay_known(
    cluster: RedisCluster, client: Cluster
) -> None:
    EventAppender(client).append_many([(name, DONE) for name in TENANTS])
    client.set_patience(0.1)
    minutes = iter(range(1_000))
    known = KnownStreams(client, keys_of(client), lambda: next(minutes) * FORGET_SECONDS)

    def scan() -> None:
        known.discover(lambda _: None)
        while known._cursor != START:
            known.discover(lambda _: None)
        known.take_unchecked(len(TENANTS))

    scan()
    assert len(known) == len(TENANTS)
    with frozen(cluster.primaries[1].pid):
        for _ in range(3):
            scan()
    assert len(known) == len(TENANTS)


def test_trimming__stops_at_what_a_registered_group_has_not_read(client: Cluster) -> None:
    """The set of groups is at another node than most streams."""
    keys = keys_of(client)
    EventAppender(client).append_many([(name, DONE) for name in TENANTS] * 3)
    for group in ("rows", "status"):
        ConsumerGroup(client, group, "c1").register()
    assert {row.held_by for row in trim(client, keys, 0, TENANTS)} == {("rows", "status")}
    for group in ("rows", "status"):
        member = ConsumerGroup(client, group, "c1")
        member.acknowledge(member.read(TENANTS, 10))
    rows = list(trim(client, keys, 0))
    assert sorted(row.tenant for row in rows) == sorted(TENANTS)
    assert {(row.trimmed, row.left, row.held_by) for row in rows} == {(2, 1, ())}


def test_dead_letters__are_written_listed_requeued_and_dropped(client: Cluster) -> None:
    EventAppender(client).append_many([(name, DONE) for name in TENANTS])
    member, ready = ConsumerGroup(client, "status", "c1"), ReadyQueue(client, "status")
    writer, store = DeadLetterWriter(client, "status"), DeadLetterStore(client)
    for delivery in member.read(TENANTS, 10):
        writer.write(delivery, "invalid", "not an event")
    assert sorted(store.tenants()) == sorted(TENANTS)
    ready.finish(ready.take(100, 0), more=[])
    found = [letter for name in TENANTS for letter in store.letters(name)]
    assert all(map(store.requeue, found[:20]))
    assert sorted(ready.take(100, 0).tenants) == sorted(TENANTS[:20])
    assert len(member.read(TENANTS, 10)) == 20
    assert store.discard(found[20])
    listed = DeadTenants(client, keys_of(client))
    listed.maintain(server_ms(client))
    assert dead_counts(client, TENANTS, keys_of(client)) == [0] * 21 + [1] * 9


def test_half_moved_slot__delays_its_tenant_alone(cluster: RedisCluster, client: Cluster) -> None:
    """Reads of several keys are refused (TRYAGAIN) until the rest of the slot has moved."""
    keys, appender, stop = keys_of(client), EventAppender(client), threading.Event()
    settings = Settings.from_environ({"JOBTRAIL_REDIS_URL": cluster.url})
    consumer = build("status", settings, client, "c1")

    def ended(names: Iterable[str]) -> bool:
        consumer.turn(stop)
        commands = [("GET", keys.status(JobKey(name, "job", "a1"))) for name in names]
        return all(b"DONE" in (found or b"") for found in round_trip(client, commands))

    appender.append_many(
        [(name, {"type": "progress", "id": "a1", "step": "s"}) for name in TENANTS]
    )
    eventually(
        lambda: not ended(()) or client.exists(keys.progress(JobKey(TENANTS[0], "job", "a1")))
    )
    moved = next(
        name for name in TENANTS if cluster.owner(keys.stream(name)) is cluster.primaries[0]
    )
    stream, target = keys.stream(moved), cluster.primaries[2]
    source = cluster.begin_move(stream, target)
    status, _ = keys.documents(JobKey(moved, "job", "a1"))
    source.ask("MIGRATE", "127.0.0.1", target.port, status, 0, 5_000)
    appender.append_many([(name, DONE) for name in TENANTS])
    eventually(lambda: ended(name for name in TENANTS if name != moved), 20, "all other tenants")
    ((_, _, _, attempts),) = ask(client, "XPENDING", stream, "status", "-", "+", 10)
    assert attempts < TRIAL_STEP
    cluster.move_keys(stream, source, target)
    cluster.end_move(stream, target)
    eventually(lambda: ended(TENANTS), 20, "the tenant whose slot has moved")


def test_silent_node__is_not_waited_for_until_it_answers(
    cluster: RedisCluster, client: Cluster
) -> None:
    """A stopped process takes connections and commands, and answers none."""
    client.set_patience(0.1)
    node = cluster.primaries[1]
    commands: list[Command] = [("XLEN", keys_of(client).stream(name)) for name in TENANTS]
    checked(round_trip(client, commands))
    began = time.monotonic()

    def answers() -> set[type]:
        return set(map(type, round_trip(client, commands, partial=True)))

    os.kill(node.pid, signal.SIGSTOP)
    try:
        for _ in range(20):  # each would wait for its whole timeout
            assert answers() == {int, redis.TimeoutError}
        assert time.monotonic() - began < SOCKET_TIMEOUT
    finally:
        os.kill(node.pid, signal.SIGCONT)
    eventually(lambda: answers() == {int})


def test_consumer_that_starts_beside_a_silent_node__serves_the_others(
    cluster: RedisCluster, client: Cluster
) -> None:
    """Also if it asks the silent one for the slot map first."""
    silent, stop = cluster.primaries[0], threading.Event()
    owners = {name: cluster.owner(keys_of(client).stream(name)) for name in TENANTS}
    served = [name for name, owner in owners.items() if owner is not silent]
    EventAppender(client).append_many([(name, DONE) for name in TENANTS])
    names = [keys_of(client).status(JobKey(name, "job", "a1")) for name in served]
    settings = Settings.from_environ({"JOBTRAIL_REDIS_URL": cluster.url})
    with frozen(silent.pid):
        began = time.monotonic()
        with connect(cluster.url) as starting:
            assert isinstance(starting, Cluster)
            starting.set_patience(0.1)
            consumer = build("status", settings, starting, "c1")

            def all_served() -> bool:
                consumer.turn(stop)
                return all(round_trip(starting, [("GET", name) for name in names]))

            eventually(all_served)
            assert time.monotonic() - began < SOCKET_TIMEOUT  # of one command, or of one session


def test_waiting__goes_on_while_a_primary_is_replaced() -> None:
    """One that the URL does not name, so that its connections are closed with it."""
    with redis_cluster(timeout_ms=HASTY_MS) as found:
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in found.primaries[1:])
        with connect(f"redis+cluster://{hosts}", timeout=1) as mine, connect(found.url) as other:
            ready, appender = ReadyQueue(mine, "status"), EventAppender(other)
            keys = keys_of(mine)
            owners = {name: found.owner(keys.stream(name)) for name in TENANTS}
            lost, kept = (
                [name for name, owner in owners.items() if owner is node]
                for node in found.primaries[:2]
            )
            assert ready.take(10, 0.1).tenants == []
            found.primaries[0].kill()
            for name in kept:
                EventAppender(mine).append(name, DONE)
                assert ready.take(10, 4.0).tenants == [name]
            eventually(lambda: found.owner(keys.stream(lost[0])) is not found.primaries[0], 30)
            eventually(lambda: appended(appender, lost[0]), 30)
            eventually(lambda: ready.take(10, 0.5).tenants == [lost[0]], 30)


def appended(appender: EventAppender, tenant: str) -> bool:
    try:
        return bool(appender.append(tenant, DONE))
    except LogUnavailable:
        return False

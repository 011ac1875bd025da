"""The documents of jobs on a real Redis Cluster: writing, reading, feeds and settled entries."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterator

import pytest
import redis

from projections.decoding import Entry, decode
from projections.reading.documents import READ_SECONDS, DocumentReader
from projections.reading.feed import FeedReader
from projections.reading.settled import SettledReader
from projections.replay.served.documents import ServedDocuments
from projections.status.writer import StatusCache
from streams.appender import EventAppender
from streams.async_cluster import AsyncCluster
from streams.cluster import Cluster, keys_of
from streams.connection import connect, connect_async
from streams.entry_ids import EntryId
from streams.keys import JobKey
from streams.wire import ask
from tests.support.clusters import RedisCluster, redis_cluster
from tests.support.processes import frozen

JOBS = [JobKey(f"tenant-{number}", "job", f"a{each}") for number in range(30) for each in (1, 2)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    with redis_cluster(replicas=0) as found:
        yield found


@pytest.fixture
def client(cluster: RedisCluster) -> Iterator[Cluster]:
    for node in cluster.primaries:
        node.ask("FLUSHALL")
    found = connect(cluster.url)
    assert isinstance(found, Cluster)
    yield found
    found.close()


def entries(type_: str, at: int, jobs: list[JobKey] = JOBS) -> list[Entry]:
    return [
        decode(
            job.tenant,
            EntryId(at, number),
            [b"event", json.dumps({"type": type_, "id": job.id, "kind": job.kind}).encode()],
        )
        for number, job in enumerate(jobs)
    ]


def connected(url: str) -> AsyncCluster:
    found = connect_async(url, timeout=1)
    assert isinstance(found, AsyncCluster)
    return found


def test_batch_of_many_tenants__is_written_and_read(cluster: RedisCluster, client: Cluster) -> None:
    """Also the second time, when the states of the first are compared."""
    cache = StatusCache(client, ended_ttl_seconds=60)
    cache.apply(entries("processing", 1))
    for node in cluster.primaries:
        node.ask("SCRIPT", "FLUSH")
    cache.apply(entries("done", 2))

    async def read() -> list[str]:
        async with connected(cluster.url) as found:
            reader = DocumentReader(found)
            many = await reader.read_many([*JOBS, JOBS[0], JobKey("nobody", "job", "a1")])
            assert many.pop() is None
            single = await asyncio.gather(*map(reader.read, JOBS))
            assert many == [*single, single[0]]
            return [json.loads(each.status)["status"] for each in many if each]

    assert asyncio.run(read()) == ["DONE"] * (len(JOBS) + 1)
    pages = ServedDocuments(client).pages(None)
    assert sorted(job for page in pages for job in page) == sorted(JOBS)
    assert len(ServedDocuments(client).read(JOBS)) == len(JOBS)


def test_feed__is_read_and_published_on_the_node_of_its_tenant(
    cluster: RedisCluster, client: Cluster
) -> None:
    job = next(job for job in JOBS if cluster.owner(keys_of(client).feed(job.tenant)).port)
    feed = keys_of(client).feed(job.tenant)
    with redis.Redis(port=cluster.owner(feed).port, protocol=2) as owner:
        listener = owner.pubsub()
        listener.ssubscribe(feed)
        assert listener.get_message(timeout=5)["type"] == "ssubscribe"
        StatusCache(client).apply(entries("processing", 1))
        assert listener.get_message(timeout=5)["data"].split()[1::2] == [b"job:a1", b"job:a2"]
        listener.close()

    async def read() -> list[JobKey]:
        async with connected(cluster.url) as found:
            reader = FeedReader(found, DocumentReader(found))
            assert await reader.newest(job.tenant) > await reader.newest(job.tenant, 2) > 0
            before = (await reader.changes(job.tenant, 0)).changes
            target = next(each for each in cluster.primaries if each is not cluster.owner(feed))
            source = cluster.begin_move(feed, target)
            cluster.move_keys(feed, source, target)
            # Keys that do not exist may be at either node.
            with pytest.raises(redis.exceptions.TryAgainError):
                await reader.changes(job.tenant, 0)
            assert await reader.newest(job.tenant) == before[-1].offset
            cluster.end_move(feed, target)
            assert before == (await reader.changes(job.tenant, 0)).changes
            return [change.job for change in before]

    assert asyncio.run(read()) == [each for each in JOBS if each.tenant == job.tenant]


def test_settled_entries__are_asked_of_their_nodes(cluster: RedisCluster, client: Cluster) -> None:
    tenants = sorted({job.tenant for job in JOBS})
    ids = EventAppender(client).append_many(
        [(name, {"type": "done", "id": "a1"}) for name in tenants]
    )
    stream = keys_of(client).stream(tenants[0])
    ask(client, "XGROUP", "CREATE", stream, "status", "0")
    ask(client, "XREADGROUP", "GROUP", "status", "c1", "STREAMS", stream, ">")
    ask(client, "XACK", stream, "status", str(ids[0]))

    async def read() -> list[bool]:
        async with connected(cluster.url) as found:
            reader = SettledReader(found)
            return await asyncio.gather(*map(reader.read, tenants, ids))

    assert asyncio.run(read()) == [True] + [False] * (len(tenants) - 1)


def test_node_that_hangs__fails_the_reads_of_its_tenants_only(
    cluster: RedisCluster, client: Cluster
) -> None:
    StatusCache(client).apply(entries("processing", 1))
    frozen, keys = cluster.primaries[2], keys_of(client)

    async def read() -> list[object]:
        async with connected(cluster.url) as found:
            reader = DocumentReader(found)
            await reader.read_many(JOBS)
            os.kill(frozen.pid, signal.SIGSTOP)
            try:
                return await asyncio.gather(*map(reader.read, JOBS), return_exceptions=True)
            finally:
                os.kill(frozen.pid, signal.SIGCONT)

    for job, found in zip(JOBS, asyncio.run(read()), strict=True):
        lost = cluster.owner(keys.status(job)) is frozen
        assert isinstance(found, redis.TimeoutError) == lost


def test_silent_node__delays_no_read_of_the_other_nodes(
    cluster: RedisCluster, client: Cluster
) -> None:
    """Not even the first ones, which ask it for the slot map, and not without a timeout."""
    StatusCache(client).apply(entries("processing", 1))
    EventAppender(client).append_many((job.tenant, {"type": "done", "id": "a9"}) for job in JOBS)
    silent, keys, first = cluster.primaries[0], keys_of(client), EntryId(1, 0)
    owners = [cluster.owner(keys.status(job)) for job in JOBS]
    lost = [owner is silent for owner in owners] * 2

    async def read(found: AsyncCluster, times: int) -> list[list[bool]]:
        """Return which reads of documents, and then of settled entries, failed each time."""
        documents, settled, failed = DocumentReader(found), SettledReader(found), []
        for _ in range(times):
            answers = await asyncio.gather(
                *(documents.read(job) for job in JOBS),
                *(settled.read(job.tenant, first) for job in JOBS),
                return_exceptions=True,
            )
            failed.append([isinstance(each, redis.TimeoutError) for each in answers])
        return failed

    async def read_all() -> None:
        found = connect_async(cluster.url, timeout=None)
        assert isinstance(found, AsyncCluster)
        async with found:
            found.set_patience(0.1)
            with frozen(silent.pid):
                began = time.monotonic()
                assert await read(found, 20) == [lost] * 20
                assert time.monotonic() - began < READ_SECONDS  # of one read that waits
            while any((await read(found, 1))[0]):  # until the node was probed
                await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(read_all(), 30))

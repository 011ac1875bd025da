"""Subscriptions to changes on a real Redis Cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from api.live.cluster_subscriptions import subscriptions_of
from api.live.subscriptions import Subscriptions
from api.live.waiters import Waiter
from streams.async_cluster import AsyncCluster
from streams.cluster import Cluster, keys_of
from streams.connection import connect, connect_async
from streams.wire import ask
from tests.support.clusters import HASTY_MS, RedisCluster, redis_cluster

pytestmark = pytest.mark.anyio
TENANTS = [f"tenant-{number}" for number in range(12)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    with redis_cluster(timeout_ms=HASTY_MS) as found:
        yield found


@asynccontextmanager
async def subscribed(url: str) -> AsyncIterator[tuple[Subscriptions, dict[str, Waiter]]]:
    """Provide waiters for all jobs of each tenant."""
    client = connect_async(url)
    assert isinstance(client, AsyncCluster)
    subject = subscriptions_of(client)
    running = asyncio.create_task(subject.run())
    waiters = {name: Waiter() for name in TENANTS}
    try:
        async with AsyncExitStack() as stack:
            for name, waiter in waiters.items():
                await stack.enter_async_context(subject.watch(name, None, waiter))
            yield subject, waiters
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await client.aclose()


async def all_notified(waiters: dict[str, Waiter], names: list[str]) -> None:
    async with asyncio.timeout(30):
        for name in names:
            await waiters[name].wait()


async def publish(client: Cluster, names: list[str]) -> None:
    for name in names:
        await asyncio.to_thread(ask, client, "SPUBLISH", keys_of(client).feed(name), b"1 job:a1")


async def test_changes__notify_the_waiters_of_their_tenants(cluster: RedisCluster) -> None:
    """Before and after a slot moves, and after a primary was replaced."""
    client = connect(cluster.url)
    assert isinstance(client, Cluster)
    feed = keys_of(client).feed
    async with subscribed(cluster.url) as (_, waiters):
        await publish(client, TENANTS[:-1])
        await all_notified(waiters, TENANTS[:-1])
        assert not waiters[TENANTS[-1]].changed

        moved = next(name for name in TENANTS if cluster.owner(feed(name)) is cluster.primaries[1])
        waiters[moved].changed = False
        await asyncio.to_thread(cluster.begin_move, feed(moved), cluster.primaries[2])
        await asyncio.to_thread(cluster.end_move, feed(moved), cluster.primaries[2])
        await all_notified(waiters, [moved])  # changes may have been missed
        waiters[moved].changed = False
        await publish(client, [moved])
        await all_notified(waiters, [moved])

        lost = [name for name in TENANTS if cluster.owner(feed(name)) is cluster.primaries[0]]
        for name in lost:
            waiters[name].changed = False
        await asyncio.to_thread(cluster.primaries[0].kill)
        await all_notified(waiters, lost)
        for name in lost:
            waiters[name].changed = False
        await publish(client, lost)
        await all_notified(waiters, lost)
    client.close()

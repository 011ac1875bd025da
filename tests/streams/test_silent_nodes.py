"""Nodes of a cluster that do not answer in time."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from typing import Any, cast
from urllib.parse import urlsplit

import pytest
import redis
import redis.asyncio

from streams import silent_nodes
from streams.connection import connect_async
from streams.silent_nodes import AsyncSilentNodes, SilentNodes
from streams.wire import PendingReplies, one_async_connection
from tests.support.proxy import Proxy
from tests.support.waiting import eventually

ADDRESS = ("127.0.0.1", 1)
PATIENCE = 0.5


class Unanswered:
    """Commands that get no reply."""

    def __init__(self, number: int) -> None:
        self.number = number

    def fileno(self) -> int:
        """Return the number of a pipe without content."""
        return self.number

    def give_up(self) -> None:
        """Do nothing."""


@pytest.fixture
def unanswered() -> Iterator[PendingReplies]:
    reading, writing = os.pipe()
    yield cast("PendingReplies", Unanswered(reading))
    os.close(reading)
    os.close(writing)


def test_a_node_may_stay_silent_any_number_of_times(
    unanswered: PendingReplies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(silent_nodes, "LONGEST_PATIENCE", 0.0)
    nodes = SilentNodes(0.1, ())  # a node that has left the cluster is not probed
    node: Any = None
    for _ in range(1_100):
        with pytest.raises(redis.TimeoutError):
            nodes.await_reply(ADDRESS, node, unanswered)
        while ADDRESS in nodes:
            pass


def test_probe_that_ends_by_a_defect__leaves_no_node_silent(
    unanswered: PendingReplies, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported = list[object]()
    monkeypatch.setattr(threading, "excepthook", reported.append)
    nodes, broken = SilentNodes(0.0, {ADDRESS}), cast("redis.Redis", object())
    with pytest.raises(redis.TimeoutError):
        nodes.await_reply(ADDRESS, broken, unanswered)
    eventually(lambda: reported)
    assert ADDRESS not in nodes


def test_no_thread_for_a_probe__the_node_is_merely_silent(
    unanswered: PendingReplies, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    nodes, node = SilentNodes(0.0, {ADDRESS}), cast("redis.Redis", object())
    for _ in range(2):
        with pytest.raises(redis.TimeoutError):
            nodes.await_reply(ADDRESS, node, unanswered)
        assert ADDRESS not in nodes


def test_asyncio_probe_that_ends_by_a_defect_or_is_cancelled__leaves_no_node_silent(
    redis_url: str,
) -> None:
    async def silence(_: asyncio.Event) -> list[Any]:
        await asyncio.Event().wait()
        return []

    async def main() -> None:
        nodes, broken = AsyncSilentNodes(0.0, {ADDRESS}), cast("redis.asyncio.Redis", object())
        with pytest.raises(redis.TimeoutError):
            await nodes.replies(ADDRESS, broken, silence)
        while ADDRESS in nodes:
            await asyncio.sleep(0)
        async with connect_async(redis_url) as node:
            with pytest.raises(redis.TimeoutError):
                await nodes.replies(ADDRESS, node, silence)
            assert ADDRESS in nodes
            await nodes.close()  # before the probe has begun
            assert ADDRESS not in nodes

    asyncio.run(main())


def test_large_reply__takes_longer_than_the_patience__is_received(
    redis_url: str, redis_client: redis.Redis
) -> None:
    """The first bytes arrive in time, and the others 0.05 s after one another."""
    redis_client.set("large", bytes(1_500_000))
    url = urlsplit(redis_url)

    async def main(proxy: Proxy) -> None:
        nodes = AsyncSilentNodes(PATIENCE, {ADDRESS})
        through = redis_url.replace(f":{url.port}", f":{proxy.port}")
        async with connect_async(through) as node:

            async def exchange(answering: asyncio.Event) -> list[Any]:
                async with one_async_connection(node, answering) as send:
                    return await send([("GET", "large"), ("PING",)])

            await node.ping()
            proxy.delay(0.05)
            began = time.monotonic()
            large, pong = await nodes.replies(ADDRESS, node, exchange)
            assert (len(large), pong) == (1_500_000, b"PONG")
            assert time.monotonic() - began > PATIENCE + silent_nodes.LATE_SECONDS
            assert ADDRESS not in nodes

    with Proxy(url.port or 6379) as proxy:
        asyncio.run(main(proxy))

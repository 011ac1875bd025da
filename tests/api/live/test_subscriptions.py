"""Subscriptions to changes: pings and removals go on while new tenants keep arriving."""

from __future__ import annotations

import asyncio
from itertools import count

import pytest
import redis

from api.live import subscriptions
from api.live.subscriptions import Subscriptions
from api.live.waiters import Waiter
from streams.connection import connect_async
from streams.keys import Keys

pytestmark = pytest.mark.anyio


async def test_unused_channel_is_removed_while_new_tenants_keep_arriving(
    redis_url: str, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions, "PING_SECONDS", 0.2)
    monkeypatch.setattr(subscriptions, "SUBSCRIBE_SECONDS", 30.0)  # the machine may be busy
    client = connect_async(redis_url)
    subject = Subscriptions(client)
    running = asyncio.create_task(subject.run())

    def is_subscribed() -> bool:
        [(_, subscribers)] = redis_client.pubsub_numsub(Keys().feed("first"))
        return bool(subscribers)

    try:
        async with subject.watch("first", None, Waiter()):
            assert is_subscribed()
        async with asyncio.timeout(60):
            for number in count():  # each new tenant has a new channel
                async with subject.watch(f"t{number}", None, Waiter()):
                    pass
                if not is_subscribed():
                    break
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await client.aclose()

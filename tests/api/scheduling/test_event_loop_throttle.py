"""The event loop throttle: polls are answered while many viewers connect at once."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
import redis
from starlette.types import Message, Scope

from api.app import create_app
from api.scheduling.event_loop_throttle import EventLoopThrottle
from streams.settings import Settings
from tests.api.conftest import Writer, _running

pytestmark = pytest.mark.anyio

VIEWERS = 500


async def admitted(
    throttle: EventLoopThrottle, tenants: str
) -> tuple[str, list[asyncio.Task[None]]]:
    """Let viewers of these tenants wait; return the order in which they were admitted."""
    order = list[str]()

    async def view(tenant: str) -> None:
        await throttle.admit(tenant)
        order.append(tenant)

    tasks = [asyncio.create_task(view(tenant)) for tenant in tenants]
    await asyncio.gather(*tasks)
    return "".join(order), tasks


async def test_waiting__tenants_go_on_in_rotation() -> None:
    order, _ = await admitted(EventLoopThrottle(1), "aaaabbc")
    assert order == "aabcaba"


async def test_few__go_on_at_once() -> None:
    throttle = EventLoopThrottle(2)
    for _ in range(3):
        for _ in range(2):
            admission = throttle.admit("a")
            with pytest.raises(StopIteration):  # it has not waited
                admission.send(None)
        await asyncio.sleep(0)
    assert throttle.waiting == 0


async def test_each_turn__lets_a_portion_go_on() -> None:
    throttle = EventLoopThrottle(3)
    tasks = [asyncio.create_task(throttle.admit("a")) for _ in range(30)]
    await asyncio.sleep(0)
    waited = list[int]()
    while throttle.waiting:
        waited.append(throttle.waiting)
        await asyncio.sleep(0)
    assert waited == sorted(set(waited), reverse=True)
    assert len(waited) >= 9
    await asyncio.gather(*tasks)


async def test_cancelled__others_go_on() -> None:
    throttle = EventLoopThrottle(1)
    tasks = [asyncio.create_task(throttle.admit("a")) for _ in range(10)]
    await asyncio.sleep(0)
    for task in tasks[2:8]:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError):
            await task
    assert [task.cancelled() for task in tasks] == [False] * 2 + [True] * 6 + [False] * 2
    assert throttle.waiting == 0


@pytest.mark.parametrize("path", ["progress/events", "progress/?wait=30"])
async def test_many_viewers_come_at_once__a_poll_is_answered_before_the_last(
    redis_url: str, redis_client: redis.Redis, write: Writer, path: str
) -> None:
    """No viewer is refused."""
    write("other", {"type": "processing", "id": "a1"})
    write("t", {"type": "done", "id": "a1"})
    app = create_app(Settings(redis_url=redis_url, auth="dev"))
    answered = list[str]()

    async def receive() -> Message:
        await asyncio.Event().wait()  # the client stays
        return {"type": "http.disconnect"}

    async def ask(tenant: str, path: str) -> int:
        statuses = list[int]()

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                answered.append(tenant)
                statuses.append(message["status"])

        await app(_request(tenant, path), receive, send)
        return statuses[0]

    async with _running(app):
        await ask("t", path)
        viewers = [asyncio.create_task(ask("t", path)) for _ in range(VIEWERS)]
        poll = asyncio.create_task(ask("other", "progress/"))
        assert await poll == 200
        opened = answered.count("t") - 1
        assert await asyncio.gather(*viewers) == [200] * VIEWERS
    assert opened < VIEWERS / 5


def _request(tenant: str, path: str) -> Scope:
    path, _, query = f"/api/v1/jobs/a1/{path}".partition("?")
    return {
        "type": "http",
        "method": "GET",
        "path": path,
        "query_string": query.encode(),
        "headers": [(b"host", b"localhost"), (b"x-tenant-id", tenant.encode())],
        "client": ("127.0.0.1", 1),
        "scheme": "http",
    }

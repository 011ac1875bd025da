"""Fixtures of the API's tests: documents as the projection writes them, requests without HTTP.

`ask` speaks ASGI to the application itself; `test_server.py` runs the real server.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import count
from typing import Any

import httpx
import pytest
import redis
from starlette.types import ASGIApp, Message

from api.app import create_app
from projections.decoding import Entry, decode
from projections.status.writer import StatusCache
from streams.entry_ids import EntryId
from streams.events import dump_json
from streams.settings import Settings

Writer = Callable[..., None]
Asker = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture
def anyio_backend() -> str:
    """The backend of anyio: the server runs on asyncio only."""
    return "asyncio"


@pytest.fixture
def write(redis_client: redis.Redis) -> Writer:
    """A function that applies events like the projection `status`, each a second after the last."""
    return writer_to(redis_client)


def writer_to(client: redis.Redis) -> Writer:
    """Return a function that applies events through a client."""
    cache, seconds = StatusCache(client), count(1)

    def apply(tenant: str, *events: dict[str, Any]) -> None:
        cache.apply([_entry(tenant, event, next(seconds)) for event in events])

    return apply


def _entry(tenant: str, event: dict[str, Any], second: int) -> Entry:
    return decode(tenant, EntryId(second * 1000, 0), [b"event", dump_json(event)])


@pytest.fixture
def ask(redis_url: str) -> Asker:
    """A function that opens a client of an application, in dev mode by default."""

    @asynccontextmanager
    async def opened(
        headers: dict[str, str] | None = None, **settings: Any
    ) -> AsyncIterator[httpx.AsyncClient]:
        app = create_app(Settings(**{"redis_url": redis_url, "auth": "dev", **settings}))
        transport = httpx.ASGITransport(app)
        async with (
            _running(app),
            httpx.AsyncClient(
                transport=transport,
                base_url="http://localhost",
                headers=headers or {"x-tenant-id": "t"},
            ) as client,
        ):
            yield client

    return opened


@asynccontextmanager
async def _running(app: ASGIApp) -> AsyncIterator[None]:
    """Start and stop an application as a server does."""
    orders: asyncio.Queue[Message] = asyncio.Queue()
    done: asyncio.Queue[Message] = asyncio.Queue()
    life = asyncio.ensure_future(app({"type": "lifespan"}, orders.get, done.put))
    for order in ("startup", "shutdown"):
        await orders.put({"type": f"lifespan.{order}"})
        assert await done.get() == {"type": f"lifespan.{order}.complete"}
        if order == "startup":
            yield
    await life


@pytest.fixture
def mgets(redis_client: redis.Redis) -> Callable[[], int]:
    """A function that counts the MGETs since the test's first request."""
    redis_client.config_resetstat()

    def counted() -> int:
        return int(redis_client.info("commandstats").get("cmdstat_mget", {"calls": 0})["calls"])

    return counted

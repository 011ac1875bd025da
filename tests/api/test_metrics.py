"""The metrics of the API, as scraped."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import httpx
import pytest
import redis

from ops.devstack import EmbeddedRedis
from tests.api.conftest import Asker, Writer
from tests.support.event_stream import ApiProcess, Stream, running_api
from tests.support.scraping import parsed, scrape, value
from tests.support.waiting import eventually

JOB = "/api/v1/jobs/{}/progress/"
REQUESTS = "jobtrail_http_request_seconds_count"


@pytest.fixture(scope="module")
def api(redis_server: EmbeddedRedis) -> Iterator[ApiProcess]:
    with running_api(redis_server.url) as process:
        yield process


def read(api: ApiProcess, name: str, **labels: str) -> float:
    return value(scrape(f"{api.url}/metrics"), name, **labels) or 0


def test_requests_are_counted_by_route_and_class_of_status(api: ApiProcess, write: Writer) -> None:
    write("42", {"type": "processing", "id": "a1"})
    me = {"x-tenant-id": "42"}
    for path, count in ((JOB.format("a1"), 3), (JOB.format("none"), 2)):
        for _ in range(count):
            httpx.get(api.url + path, headers=me)
    route = "/api/v1/jobs/{id}/progress/"
    assert read(api, REQUESTS, route=route, status="2xx") == 3
    assert read(api, REQUESTS, route=route, status="4xx") == 2
    assert read(api, "jobtrail_read_batch_jobs_count") >= 5


def test_poll_that_waits_is_no_slow_answer(
    api: ApiProcess, write: Writer, redis_client: redis.Redis
) -> None:
    """A long poll is counted while it waits, and under its own route."""
    write("w", {"type": "processing", "id": "a1"})
    url, me = api.url + JOB.format("a1"), {"x-tenant-id": "w"}
    tag = httpx.get(url, headers=me).headers["etag"]

    async def wait_for_change() -> int:
        async with httpx.AsyncClient() as client:
            held = asyncio.create_task(
                client.get(f"{url}?wait=20", headers={**me, "if-none-match": tag}, timeout=30)
            )
            while not await asyncio.to_thread(read, api, "jobtrail_long_polls"):
                assert not held.done()
            await asyncio.to_thread(write, "w", {"type": "done", "id": "a1"})
            return (await held).status_code

    assert asyncio.run(wait_for_change()) == 200
    assert read(api, REQUESTS, route="/api/v1/jobs/{id}/progress/?wait", status="2xx") == 1
    eventually(lambda: read(api, "jobtrail_long_polls") == 0)


def test_streams_are_counted_while_they_are_open(
    api: ApiProcess, write: Writer, redis_client: redis.Redis
) -> None:
    write("s", {"type": "processing", "id": "a1"})
    before = read(api, "jobtrail_live_stream_events_total", scope="job")
    with Stream(api.url, f"{JOB.format('a1')}events?tenant=s") as stream:
        assert stream.event()
        eventually(lambda: read(api, "jobtrail_live_streams") == 1)
        assert read(api, "jobtrail_feed_subscriptions") >= 1
        write("s", {"type": "done", "id": "a1"})
        assert stream.event()
    eventually(lambda: read(api, "jobtrail_live_streams") == 0)
    assert read(api, "jobtrail_live_stream_events_total", scope="job") == before + 2
    assert read(api, "jobtrail_feed_messages_total") >= 1


def test_connections_are_counted(api: ApiProcess, redis_client: redis.Redis) -> None:
    httpx.get(f"{api.url}/readyz")
    said = scrape(f"{api.url}/metrics")
    counts = [
        value(said, "jobtrail_pool_connections", server="redis", state=state)
        for state in ("used", "idle")
    ]
    assert None not in counts
    assert sum(count or 0 for count in counts) >= 1


@pytest.mark.anyio
async def test_scrape_tells_nothing_of_any_tenant(ask: Asker, write: Writer) -> None:
    """A scrape needs no token and contains no tenant, id or label."""
    write("acme", {"type": "done", "id": "secret-id", "labels": {"customer": "hidden"}})
    async with ask(headers={"x-tenant-id": "acme"}) as client:
        for path in (JOB.format("secret-id"), "/api/v1/jobs/secret-id/", "/secret-id/acme"):
            await client.get(path)
        answer = await client.get("/metrics", headers={"x-tenant-id": ""})
    assert parsed(answer.text)
    for word in ("acme", "secret-id", "hidden"):
        assert word not in answer.text

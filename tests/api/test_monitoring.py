"""The endpoints for monitoring."""

from __future__ import annotations

import pytest

from tests.api.conftest import Asker, Writer

pytestmark = pytest.mark.anyio

AWAY = "redis://127.0.0.1:1/0"
"""Nothing listens on port 1, which only root could use."""


async def test_alive_and_ready(ask: Asker) -> None:
    async with ask() as client:
        for path in ("/healthz", "/readyz"):
            answer = await client.get(path)
            assert answer.status_code == 200
            assert answer.headers["content-type"] == "application/json"


async def test_redis_away(ask: Asker) -> None:
    """Without Redis the API is alive but not ready, and requests return 503."""
    async with ask(redis_url=AWAY) as client:
        assert (await client.get("/healthz")).status_code == 200
        ready = await client.get("/readyz")
        answer = await client.get("/api/v1/jobs/a1/progress/")
    assert (ready.status_code, ready.json()["missing"]) == (503, ["redis"])
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.headers["content-type"] == "application/problem+json"
    assert "127.0.0.1" not in answer.text


async def test_unknown_page(ask: Asker) -> None:
    async with ask() as client:
        answer = await client.get("/none")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"]


async def test_metrics(ask: Asker, write: Writer) -> None:
    """Requests are counted by route and class of status, without tenants and ids."""
    write("tenant-1", {"type": "processing", "id": "secret-id"})
    async with ask(headers={"x-tenant-id": "tenant-1"}) as client:
        for path in ("/api/v1/jobs/secret-id/progress/", "/media/videos/5/progress", "/none"):
            await client.get(path)
        text = (await client.get("/metrics")).text
    seconds = "jobtrail_http_request_seconds_count"
    for route, status in (
        ("/api/v1/jobs/{id}/progress/", "2xx"),
        ("/media/videos/{id}/progress/", "4xx"),
        ("none", "4xx"),
    ):
        assert f'{seconds}{{route="{route}",status="{status}"}}' in text
    assert "jobtrail_read_batch_jobs_count" in text
    assert "tenant-1" not in text
    assert "secret-id" not in text

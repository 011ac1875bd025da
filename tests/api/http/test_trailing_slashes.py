"""A path with and without its trailing slash: the same answer, or a redirect without secrets."""

from __future__ import annotations

from typing import Any, cast

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from api.app import create_app
from api.application import Application
from ops.operator_view import RedisOperatorView
from streams.settings import Settings
from tests.api.conftest import Writer, _running

pytestmark = pytest.mark.anyio

FILES = ("/client.", "/element.", "/docs/", "/console/")
"""Prefixes of files that pages name; they have one path only."""


@pytest.fixture
def app(redis_url: str) -> Any:
    settings = Settings(
        redis_url=redis_url, auth="jwt", jwt_secret="s" * 32, bad_token_rate_limit=0
    )
    return create_app(settings, RedisOperatorView.of(settings))


async def test_every_path__never_leads_to_another_host_nor_repeats_the_query(
    app: Any, write: Writer
) -> None:
    write("t", {"type": "processing", "id": "a1"})
    routes = cast(list[Route], cast(Starlette, cast(Application, app)._other_routes).routes)
    paths = {route.path.format(id="a1", tenant="t", kind="job", job_id="a1", letter="1-1")
             for route in routes} | {"/api/v1/jobs/a1/progress", "/media/videos/a1/progress",
                                     "/api/v1/progress/query"}  # fmt: skip
    transport = httpx.ASGITransport(app)
    async with (
        _running(app),
        httpx.AsyncClient(transport=transport, base_url="http://evil.example") as client,
    ):
        for path in sorted(paths):
            bare = path.rstrip("/")
            one, two = [
                await client.get(each + "?access_token=secret") for each in (bare, bare + "/")
            ]
            for answer in (one, two):
                location = answer.headers.get("location", "")
                assert "secret" not in location, path
                assert not location.startswith(("http", "/")), path
            if bare in ("/docs", "/console"):
                (redirected,) = [each for each in (one, two) if each.status_code == 308]
                there = httpx.URL(str(redirected.url)).join(redirected.headers["location"])
                assert str(there) in {f"http://evil.example{bare}", f"http://evil.example{bare}/"}
            elif not path.startswith(FILES):
                assert one.status_code == two.status_code != 404, path


@pytest.mark.parametrize(
    "path", ["//evil.example/docs/", "//evil.example", "/docs//", "/\\evil.example/", "/healthz//"]
)
async def test_paths_with_more_slashes__not_found(app: Any, path: str) -> None:
    transport = httpx.ASGITransport(app)
    async with (
        _running(app),
        httpx.AsyncClient(transport=transport) as client,
    ):
        answer = await client.get(httpx.URL("http://api", raw_path=path.encode()))
    assert (answer.status_code, answer.headers.get("location")) == (404, None)

"""The dev mode answers requests for this machine's loopback only."""

from __future__ import annotations

import httpx
import pytest

from api.access.loopback import is_loopback
from tests.api.conftest import Asker, Writer
from tests.support.event_stream import running_api

pytestmark = pytest.mark.anyio

PATHS = [
    "/api/v1/jobs/a1/progress/",
    "/api/v1/jobs/a1/progress/?wait=1",
    "/media/videos/a1/progress",
    "/api/v1/jobs/a1/progress/events",
    "/api/v1/events",
    "/api/v1/jobs/",
    "/media/videos/a1/",
    "/api/v1/jobs/a1/history/",
    "/healthz",
    "/readyz",
    "/metrics",
    "/openapi.json",
    "/docs",
    "/docs/docs.js",
    "/client.js",
    "/client.d.ts",
    "/element.js",
    "/none",
]
LOCAL = [
    *("localhost", "localhost:8000", "LOCALHOST", "localhost.", "api.localhost:1"),
    *("127.0.0.1", "127.8.9.10:80", "[::1]", "[::1]:8000", "[::ffff:127.0.0.1]:9"),
]
FOREIGN = [
    *("evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example"),
    *("localhost@evil.example", "evil.example@localhost", "evil.example#localhost"),
    *("localhost:x", "localhost/x", "localhost?x", "localhost#", "localhost, evil.example"),
    *("192.0.2.1", "0.0.0.0:8000", "127.1", "[::]", "[2001:db8::1]", "[::1", "", " "),
]


@pytest.mark.parametrize("path", PATHS)
async def test_foreign_host__refused_on_every_path(ask: Asker, write: Writer, path: str) -> None:
    write("t", {"type": "processing", "id": "a1"})
    async with ask() as client:
        answers = [
            await client.request(method, path, headers=headers)
            for method in ("GET", "HEAD", "OPTIONS", "POST")
            for headers in (
                {"host": "evil.example"},
                {"origin": "http://evil.example"},
                {"origin": "null"},
            )
        ]
    assert {each.status_code for each in answers} == {403}
    assert {each.headers["content-type"] for each in answers} == {"application/problem+json"}


@pytest.mark.parametrize("host", FOREIGN)
async def test_host_that_is_not_of_the_loopback__refused(ask: Asker, host: str) -> None:
    async with ask() as client:
        for name, value in (("host", host), ("origin", f"http://{host}")):
            assert (await client.get("/healthz", headers={name: value})).status_code == 403
        two = [("host", "localhost"), ("host", host)]
        assert (await client.get("/healthz", headers=two)).status_code == 403


@pytest.mark.parametrize("host", LOCAL)
async def test_host_of_the_loopback__answered(ask: Asker, host: str) -> None:
    async with ask() as client:
        for headers in (
            {"host": host},
            {"origin": f"http://{host}"},
            {"origin": f"https://{host}"},
        ):
            assert (await client.get("/healthz", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "origin", ["localhost", "file://localhost", "http:localhost", "", "*", "http://localhost/x"]
)
async def test_origin_that_is_none__refused(ask: Asker, origin: str) -> None:
    async with ask() as client:
        assert (await client.get("/healthz", headers={"origin": origin})).status_code == 403


async def test_origin_that_the_setting_names__answered_to_a_loopback_host_alone(ask: Asker) -> None:
    origin = {"origin": "https://app.example.com"}
    preflight = origin | {"access-control-request-method": "GET"}
    async with ask(cors_origins=origin["origin"]) as client:
        assert (await client.get("/healthz", headers=origin)).status_code == 200
        assert (await client.options("/healthz", headers=preflight)).status_code == 204
        foreign = {"host": "evil.example"}
        assert (await client.get("/healthz", headers=origin | foreign)).status_code == 403
        assert (await client.options("/healthz", headers=preflight | foreign)).status_code == 403


async def test_tokens__any_host(ask: Asker) -> None:
    """With tokens, the Host header does not matter."""
    async with ask({"host": "jobs.example.com"}, auth="jwt", jwt_secret="s" * 32) as client:
        assert (await client.get("/healthz")).status_code == 200


def test_server__foreign_host__refused(redis_url: str) -> None:
    with running_api(redis_url) as api:
        for path in ("/api/v1/events?tenant=t", "/metrics", "/client.js"):
            answer = httpx.get(api.url + path, headers={"host": "evil.example"})
            assert (answer.status_code, answer.json()["status"]) == (403, 403)
        assert httpx.get(api.url + "/metrics").status_code == 200


@pytest.mark.parametrize("name", ["localhost", "a.localhost", "::1", "127.255.0.1"])
def test_is_loopback(name: str) -> None:
    assert is_loopback(name)

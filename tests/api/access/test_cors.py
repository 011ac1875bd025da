"""CORS, for every kind of answer."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import jwt
import pytest

from api.app import create_app
from streams.settings import Settings, SettingsError
from tests.api.conftest import Asker, Writer
from tests.support.tokens import FAR

pytestmark = pytest.mark.anyio

JOB = "/api/v1/jobs/a1/progress/"
PATHS = [JOB, "/api/v1/jobs/none/progress/", "/media/videos/7/progress/events", "/none", "/healthz"]
ORIGIN, OTHER = "https://app.example.com", "https://evil.example.com"
SECRET = "s" * 32


@pytest.fixture
def ask(ask: Asker) -> Asker:
    """A function that opens a client with a token; the dev mode would refuse other origins."""

    def opened(
        headers: dict[str, str] | None = None, **settings: Any
    ) -> AbstractAsyncContextManager[httpx.AsyncClient]:
        token = jwt.encode({"tenant_id": "t", "exp": FAR}, SECRET)
        return ask(
            {"authorization": f"Bearer {token}"} | (headers or {}),
            **{"auth": "jwt", "jwt_secret": SECRET, **settings},
        )

    return opened


@pytest.fixture(autouse=True)
def _job(write: Writer) -> None:
    write("t", {"type": "done", "id": "a1"}, {"type": "done", "id": "7", "kind": "video"})


@pytest.mark.parametrize("path", PATHS)
async def test_off(ask: Asker, path: str) -> None:
    """By default no origin is allowed, and no answer has CORS headers."""
    async with ask(headers={"origin": ORIGIN}) as client:
        answer = await client.get(path)
        preflight = await client.options(path, headers={"access-control-request-method": "GET"})
    for name in (*answer.headers, *preflight.headers):
        assert not name.startswith("access-control-")
    assert preflight.status_code in (404, 405)


@pytest.mark.parametrize("path", PATHS)
async def test_allowed_origin(ask: Asker, path: str) -> None:
    """The origin may read answers and errors, with the headers for polling and reconnecting."""
    headers = {"origin": ORIGIN}
    async with ask(headers, cors_origins=f"http://localhost:3000, {ORIGIN}") as client:
        answer = await client.get(path)
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert (
        answer.headers["access-control-expose-headers"]
        == "etag, jobtrail-after, jobtrail-replica-age, retry-after"
    )
    assert "Origin" in answer.headers["vary"]
    assert "access-control-allow-credentials" not in answer.headers
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("origin", [OTHER, "null", f"{ORIGIN}.evil.com", f"{ORIGIN}:8443", "*"])
async def test_other_origin(ask: Asker, path: str, origin: str) -> None:
    """Another origin gets an answer without CORS headers, which its browser hides from the page."""
    async with ask({"origin": origin}, cors_origins=ORIGIN) as client:
        answer = await client.get(path)
        same = await client.get(path, headers={"origin": ORIGIN})
    assert "access-control-allow-origin" not in answer.headers
    assert "Origin" in answer.headers["vary"]
    assert answer.status_code == same.status_code


@pytest.mark.parametrize("path", PATHS)
async def test_preflight(ask: Asker, path: str) -> None:
    """A preflight needs no credentials, because browsers send none with it."""
    asked = {
        "origin": ORIGIN,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type,if-none-match,last-event-id",
    }
    async with ask({"accept": "*/*"}, cors_origins=ORIGIN) as client:
        answer = await client.options(path, headers=asked)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["access-control-allow-methods"] == "GET, HEAD, POST"
    assert "authorization" in answer.headers["access-control-allow-headers"].lower()
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "asked",
    [
        {"origin": OTHER, "access-control-request-method": "GET"},
        {"origin": ORIGIN, "access-control-request-method": "DELETE"},
        {
            "origin": ORIGIN,
            "access-control-request-method": "GET",
            "access-control-request-headers": "x-other",
        },
    ],
)
async def test_preflight__refused(ask: Asker, asked: dict[str, str]) -> None:
    async with ask({"accept": "*/*"}, cors_origins=ORIGIN) as client:
        answer = await client.options(JOB, headers=asked)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    allowed = asked["origin"] == ORIGIN
    assert ("access-control-allow-origin" in answer.headers) is allowed


async def test_any_origin(ask: Asker) -> None:
    """`*` allows every page that has a token."""
    headers = {"origin": OTHER, "authorization": "none"}
    async with ask(headers, cors_origins="*") as client:
        answer = await client.get(JOB)
    assert answer.status_code == 401
    assert answer.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("app.example.com", "is not a valid origin"),
        ("https://app.example.com/", "is not a valid origin"),
        ("https://app.example.com/path", "is not a valid origin"),
        ("https://*.example.com", "is not a valid origin"),
        ("https://App.example.com", "is not a valid origin"),
        ("ftp://app.example.com", "is not a valid origin"),
        ("https://user@app.example.com", "is not a valid origin"),
        ("https://a.example https://b.example", "is not a valid origin"),
        ("null", "is not a valid origin"),
        (f"*,{ORIGIN}", "remove the others"),
        ("*", "is not allowed with JOBTRAIL_AUTH=dev"),
    ],
)
def test_setting__wrong(value: str, message: str) -> None:
    """The error is one clear line with the name of the variable."""
    with pytest.raises(SettingsError, match=message) as refused:
        create_app(Settings(redis_url="redis://127.0.0.1:1/0", auth="dev", cors_origins=value))
    assert str(refused.value).startswith("JOBTRAIL_CORS_ORIGINS")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "value", ["http://localhost:5173", "http://[::1]:80", "https://a.b,http://c"]
)
def test_setting__valid(value: str) -> None:
    create_app(Settings(redis_url="redis://127.0.0.1:1/0", auth="dev", cors_origins=value))


async def test_hsts(ask: Asker) -> None:
    """HSTS is off by default; if it is set, every answer has it."""
    async with ask() as client:
        assert "strict-transport-security" not in (await client.get(JOB)).headers
    async with ask(hsts_seconds=31_536_000) as client:
        for path in PATHS:
            sent = (await client.get(path)).headers["strict-transport-security"]
            assert sent == "max-age=31536000; includeSubDomains"

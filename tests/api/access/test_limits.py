"""Limits of size, time and rate, and on invalid tokens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message, Receive, Scope

from api.access import limits
from api.access.auth import Caller
from api.access.client_address import ClientAddresses
from api.access.limits import (
    BodyTooLarge,
    BodyTooSlow,
    Buckets,
    NotJson,
    TooManyRequests,
    check_json,
    limited_body,
)
from api.access.token_guard import TokenGuard
from api.app import create_app
from api.http.problems import BadCredentials, Problem
from streams.settings import Settings, SettingsError
from tests.api.conftest import Asker, Writer
from tests.support.tokens import FAR

pytestmark = pytest.mark.anyio

SECRET = "a-secret-of-more-than-thirty-two-bytes"
PATH = "/api/v1/jobs/a1/progress/"


def bearer(secret: str = SECRET, **claims: Any) -> dict[str, str]:
    return {
        "authorization": "Bearer " + jwt.encode({"tenant_id": "t", "exp": FAR, **claims}, secret)
    }


def assert_problem(answer: httpx.Response, status: int) -> None:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["status"] == status
    assert answer.json()["detail"]


# The head of a request


@pytest.mark.parametrize("path", [PATH, "/healthz", "/none"])
async def test_head__too_large(ask: Asker, path: str) -> None:
    async with ask() as client:
        assert_problem(await client.get(path + "?" + "q" * limits.MAX_URL_BYTES), 414)
        assert_problem(await client.get(path + "a" * limits.MAX_URL_BYTES), 414)
        many = {f"x-{number}": "1" for number in range(limits.MAX_HEADERS)}
        assert_problem(await client.get(path, headers=many), 431)
        large = {"x-large": "x" * limits.MAX_HEADER_BYTES}
        assert_problem(await client.get(path, headers=large), 431)
        head = await client.head(path, headers=large)
        assert (head.status_code, head.content) == (431, b"")


async def test_head__as_large_as_may_be(ask: Asker, write: Writer) -> None:
    write("t", {"type": "processing", "id": "a1"})
    async with ask() as client:
        query = "?" + "q" * (limits.MAX_URL_BYTES - len(PATH) - 2)
        own = {"x-large": "x" * (limits.MAX_HEADER_BYTES - 1_000)}
        assert (await client.get(PATH + query, headers=own)).status_code == 200


# Its body


async def test_body__said_to_be_too_large(ask: Asker) -> None:
    async with ask(max_body_bytes=10) as client:
        assert_problem(await client.post("/none", content=b"x" * 11), 413)
        assert_problem(await client.post("/none", content=b"x" * 10), 404)


def receiving(*messages: Message) -> Receive:
    left = list(messages)

    async def receive() -> Message:
        if not left:
            return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]
        return left.pop(0)

    return receive


def part(body: bytes, *, more: bool = True) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


async def test_body__proves_too_large() -> None:
    """A body of unknown size is counted as it arrives."""
    receive = limited_body({"headers": []}, receiving(part(b"x" * 6), part(b"x" * 6)), 10)
    await receive()
    with pytest.raises(BodyTooLarge):
        await receive()


async def test_body__does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BODY_SECONDS", 0.01)
    receive = limited_body({"headers": []}, receiving(part(b"x")), 10)
    await receive()
    with pytest.raises(BodyTooSlow):
        await receive()


async def test_body__all_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the body is complete, waiting for the client's disconnection has no time limit."""
    monkeypatch.setattr(limits, "BODY_SECONDS", 0.01)
    gone: Message = {"type": "http.disconnect"}
    receive = limited_body({"headers": []}, receiving(part(b"x" * 10, more=False), gone), 10)
    assert await receive() == part(b"x" * 10, more=False)
    assert await receive() == gone


@pytest.mark.parametrize(
    "sent", [b"text/plain", b"application/jsonx", b"multipart/form-data; boundary=x"]
)
def test_json__another_type(sent: bytes) -> None:
    with pytest.raises(NotJson):
        check_json({"headers": [(b"content-type", sent)]})


@pytest.mark.parametrize(
    "sent",
    [
        b"application/json",
        b"Application/JSON; charset=utf-8",
        b"",
        b"application/x-www-form-urlencoded",
    ],
)
def test_json__said_or_as_curl_says(sent: bytes) -> None:
    check_json({"headers": [(b"content-type", sent)]})


# Rates


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@given(
    rate=st.floats(0.1, 1_000),
    pauses=st.lists(st.floats(0, 5), min_size=1, max_size=200),
)
def test_buckets__never_more_than_the_rate(rate: float, pauses: list[float]) -> None:
    """With any distribution of its requests, a caller gets the rate and one burst."""
    clock, taken = Clock(), 0
    start, buckets = clock.now, Buckets(rate, clock)
    for pause in pauses:
        clock.now += pause
        wait = buckets.take("caller")
        taken += wait == 0
        allowed = rate * (clock.now - start) + max(1, limits.BURST_SECONDS * rate)
        assert taken <= allowed + 1e-6
        if wait:
            clock.now += wait * (1 + 1e-9) + 1e-9
            assert buckets.take("caller") == 0
            taken += 1


def test_buckets__memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_BUCKETS", 10)
    buckets = Buckets(1, Clock())
    for number in range(100):
        assert buckets.take(number) == 0
    assert len(buckets._full_at) == 10


async def test_rate__per_caller(ask: Asker, write: Writer) -> None:
    """A caller beyond the rate gets Retry-After; other callers of the tenant are not limited."""
    write("t", {"type": "processing", "id": "a1"})
    async with ask(auth="jwt", jwt_secret=SECRET, rate_limit=0.01) as client:
        assert (await client.get(PATH, headers=bearer(sub="one"))).status_code == 200
        refused = await client.get(PATH, headers=bearer(sub="one"))
        other = await client.get(PATH, headers=bearer(sub="two"))
        alive = await client.get("/healthz", headers=bearer(sub="one"))
    assert_problem(refused, 429)
    assert 90 <= int(refused.headers["retry-after"]) <= 100
    assert (other.status_code, alive.status_code) == (200, 200)


async def test_rate__off_by_default(ask: Asker, write: Writer) -> None:
    write("t", {"type": "processing", "id": "a1"})
    async with ask() as client:
        assert {(await client.get(PATH)).status_code for _ in range(100)} == {200}


@pytest.mark.parametrize("rate", ["0", "-1", "inf", "nan", "often"])
def test_rate__wrong(rate: str) -> None:
    with pytest.raises(SettingsError, match=f"JOBTRAIL_RATE_LIMIT: '{rate}' is not valid"):
        Settings.from_environ({"JOBTRAIL_RATE_LIMIT": rate})


# Guessing


@pytest.fixture
async def attacked(ask: Asker, write: Writer) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an API whose address has sent too many invalid tokens."""
    write("t", {"type": "processing", "id": "a1"})
    async with ask(auth="jwt", jwt_secret=SECRET, bad_token_rate_limit=0.001) as client:
        for number in range(3):
            await client.get(PATH, headers=bearer("x" * 40, n=number))
        yield client


async def test_bad_tokens__refuse_no_good_one(attacked: httpx.AsyncClient) -> None:
    """Valid tokens are accepted among any number of invalid ones, also when they are new."""
    for number in range(30):
        assert_problem(await attacked.get(PATH, headers=bearer("y" * 40, n=number)), 429)
        assert (await attacked.get(PATH, headers=bearer(n=number))).status_code == 200
    assert (await attacked.get("/healthz", headers=bearer("y" * 40))).status_code == 200
    assert_problem(await attacked.get(PATH), 401)


@pytest.mark.parametrize("path", [PATH, f"{PATH}events", "/api/v1/events", "/api/v1/jobs/"])
async def test_bad_tokens__are_told_to_wait(attacked: httpx.AsyncClient, path: str) -> None:
    answer = await attacked.get(path, headers=bearer("y" * 40))
    assert_problem(answer, 429)
    assert 1 <= int(answer.headers["retry-after"]) <= 1_000


async def test_bad_tokens__in_the_query_count_too(attacked: httpx.AsyncClient) -> None:
    token = bearer("y" * 40)["authorization"].removeprefix("Bearer ")
    assert_problem(await attacked.get(f"/api/v1/events?access_token={token}"), 429)


class Refusing:
    """An authenticator that refuses every token."""

    def identify(self, authorization: str | None, tenant: str | None, scope: Scope) -> Caller:
        raise BadCredentials


def from_address(address: str | None, **headers: str) -> Scope:
    return {
        "client": address and (address, 1),
        "headers": [
            (name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()
        ],
    }


def refusals(guard: TokenGuard, *scopes: Scope) -> list[type[Problem]]:
    found = []
    for scope in scopes:
        with pytest.raises(Problem) as refused:
            guard.identify("Bearer bad", None, scope)
        found.append(refused.type)
    return found


def test_bad_tokens__by_address() -> None:
    """Each address has its own limit; the addresses of one IPv6 network share one."""
    guard = TokenGuard(Refusing(), 0.001, ClientAddresses())
    for first, again, other in (
        ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"),
        ("2001:db8::1", "2001:db8::ffff", "2001:db8:0:1::1"),
        (None, None, "no address"),
    ):
        found = refusals(guard, *map(from_address, (first, again, other)))
        assert found == [BadCredentials, TooManyRequests, BadCredentials]


def test_bad_tokens__default_allows_a_burst() -> None:
    """Expired tokens of many pages behind one address all get the 401 that makes them renew."""
    guard = TokenGuard(Refusing(), Settings().bad_token_rate_limit, ClientAddresses())
    found = refusals(guard, *[from_address("192.0.2.1")] * 1_000)
    assert found[:500] == [BadCredentials] * 500
    assert found[-1] is TooManyRequests


PROXY = Settings(client_address_header="X-Forwarded-For", trusted_proxies="127.0.0.1, 10.0.0.0/8")


@pytest.mark.parametrize(
    ("peer", "stated", "address"),
    [
        ("127.0.0.1", "192.0.2.7", "192.0.2.7"),
        ("127.0.0.1", "198.51.100.1, 192.0.2.7", "192.0.2.7"),
        ("127.0.0.1", "192.0.2.7, 10.1.2.3", "192.0.2.7"),
        ("127.0.0.1", "2001:db8::9", "2001:db8::/64"),
        ("::ffff:127.0.0.1", "192.0.2.7", "192.0.2.7"),
        ("127.0.0.1", "10.1.2.3", "127.0.0.1"),
        ("127.0.0.1", "192.0.2.7, unknown", "127.0.0.1"),
        ("127.0.0.1", "", "127.0.0.1"),
        ("192.0.2.99", "192.0.2.7", "192.0.2.99"),
    ],
)
def test_client_address__behind_a_trusted_proxy(peer: str, stated: str, address: str) -> None:
    """The last address that is not a trusted proxy's is the client's; others are ignored."""
    addresses = ClientAddresses.from_settings(PROXY)
    assert addresses.of(from_address(peer, x_forwarded_for=stated)) == address


def test_client_address__header_is_believed_by_setting_alone() -> None:
    assert ClientAddresses().of(from_address("127.0.0.1", x_forwarded_for="9.9.9.9")) == "127.0.0.1"


@pytest.mark.parametrize(
    "settings",
    [
        {"client_address_header": "X-Real-IP"},
        {"trusted_proxies": "127.0.0.1"},
        {"client_address_header": "X-Real-IP", "trusted_proxies": "127.0.0.1, nowhere"},
        {"client_address_header": "X-Real-IP", "trusted_proxies": "10.0.0.1/8"},
    ],
)
def test_client_address__wrong_settings(settings: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="JOBTRAIL_TRUSTED_PROXIES"):
        ClientAddresses.from_settings(Settings(**settings))


async def test_guessing__off(ask: Asker) -> None:
    async with ask(auth="jwt", jwt_secret=SECRET, bad_token_rate_limit=0) as client:
        answers = [await client.get(PATH, headers=bearer("x" * 40, n=n)) for n in range(50)]
    assert {answer.status_code for answer in answers} == {401}


def test_settings__of_the_edge() -> None:
    """The application is made without contacting any server."""
    create_app(Settings(redis_url="redis://127.0.0.1:1/0", auth="dev", hsts_seconds=1))

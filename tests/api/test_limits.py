"""What is refused for being too big, too slow, too often, or guessed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message, Receive

from api import limits
from api.app import create_app
from api.guessing import ALERT_SECONDS, Guard
from api.limits import (
    BodyTooLarge,
    BodyTooSlow,
    Buckets,
    NotJson,
    TooManyRequests,
    check_json,
    limited_body,
)
from streams.settings import Settings, SettingsError
from tests.api.conftest import Asker, Writer

pytestmark = pytest.mark.anyio

SECRET = "a-secret-of-more-than-thirty-two-bytes"
PATH = "/api/v1/jobs/a1/progress/"


def bearer(secret: str = SECRET, **claims: Any) -> dict[str, str]:
    return {"authorization": "Bearer " + jwt.encode({"tenant_id": "t", **claims}, secret)}


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
    """A body of unknown size is counted as it comes."""
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
    """Once the body is here, waiting for the client to go away takes as long as it takes."""
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
    """However a caller spreads its requests, it gets the rate and one burst, and no more."""
    clock, taken = Clock(), 0
    start, buckets = clock.now, Buckets(rate, clock)
    for pause in pauses:
        clock.now += pause
        expected = buckets.wait("caller")
        wait = buckets.take("caller")
        assert wait == expected
        taken += wait == 0
        allowed = rate * (clock.now - start) + max(1, limits.BURST_SECONDS * rate)
        assert taken <= allowed + 1e-6
        if wait:
            clock.now += wait * (1 + 1e-9) + 1e-9
            assert buckets.take("caller") == 0
            taken += 1


def test_buckets__memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REMEMBERED_KEYS", 10)
    buckets = Buckets(1, Clock())
    for number in range(100):
        assert buckets.take(number) == 0
    assert len(buckets._free_at) == 10


async def test_rate__per_caller(ask: Asker, write: Writer) -> None:
    """Who asks too often is told when to come back; another caller of the tenant is not slowed."""
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
    with pytest.raises(SettingsError, match=f"JOBTRAIL_RATE_LIMIT: '{rate}' will not do"):
        Settings.from_environ({"JOBTRAIL_RATE_LIMIT": rate})


# Guessing


@pytest.fixture
async def guessed(ask: Asker, write: Writer) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an API at which a good token was used and then too many bad ones."""
    write("t", {"type": "processing", "id": "a1"})
    async with ask(auth="jwt", jwt_secret=SECRET, bad_token_rate_limit=1) as client:
        for number in range(3):
            await client.get(PATH, headers=bearer("x" * 40, n=number))
            await client.get(PATH, headers=bearer(sub="known"))
        yield client


async def test_guessing__refused_unread(guessed: httpx.AsyncClient) -> None:
    """Over the limit a right guess looks like a wrong one, wherever and however it is sent."""
    right, wrong = bearer(sub="unknown"), bearer("y" * 40)
    answers = [await guessed.get(PATH, headers=headers) for headers in (right, wrong)]
    token = right["authorization"].removeprefix("Bearer ")
    answers.append(await guessed.get(f"{PATH}?access_token={token}"))
    answers.append(await guessed.get("/healthz", headers=right))
    for answer in answers:
        assert_problem(answer, 429)
        assert answer.headers["retry-after"] == "1"


async def test_guessing__others_go_on(guessed: httpx.AsyncClient) -> None:
    """A token that has just worked goes on, and so does who shows none."""
    assert (await guessed.get(PATH, headers=bearer(sub="known"))).status_code == 200
    assert (await guessed.get("/healthz")).status_code == 200
    assert_problem(await guessed.get(PATH), 401)


def test_guessing__by_address() -> None:
    """Each address has its own limit; those of one IPv6 network share one."""

    def scope(address: str | None, token: bytes = b"bad") -> dict[str, Any]:
        return {
            "client": address and (address, 1),
            "headers": [(b"authorization", token)],
            "query_string": b"",
            "path": PATH,
        }

    clock = Clock()
    guard = Guard(1, clock)
    for address in ("192.0.2.1", "2001:db8::1", None, "no address"):
        for _ in range(2):
            guard.check(scope(address))
            guard.answered(scope(address), 401)
    for address in ("192.0.2.1", "2001:db8::ffff", None, "no address"):
        with pytest.raises(TooManyRequests):
            guard.check(scope(address))
    for address in ("192.0.2.2", "2001:db8:0:1::1"):
        guard.check(scope(address))
    clock.now += ALERT_SECONDS + 1
    guard.check(scope("192.0.2.1"))


def test_guessing__health_proves_nothing() -> None:
    """An answer that anybody is given does not make a token a known one."""
    guard = Guard(1, Clock())
    scope: dict[str, Any] = {
        "client": ("192.0.2.1", 1),
        "headers": [(b"authorization", b"bad")],
        "query_string": b"",
        "path": PATH,
    }
    guard.answered(scope, 401)
    guard.answered(scope | {"path": "/healthz"}, 200)
    guard.answered(scope, 401)
    with pytest.raises(TooManyRequests):
        guard.check(scope)


async def test_guessing__off(ask: Asker) -> None:
    async with ask(auth="jwt", jwt_secret=SECRET, bad_token_rate_limit=0) as client:
        answers = [await client.get(PATH, headers=bearer("x" * 40, n=n)) for n in range(50)]
    assert {answer.status_code for answer in answers} == {401}


def test_settings__of_the_edge() -> None:
    """The application is made without asking any server."""
    create_app(Settings(redis_url="redis://127.0.0.1:1/0", auth="dev", hsts_seconds=1))

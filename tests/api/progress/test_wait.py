"""Long polls: answered at a change of the state, and by nothing else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import jwt
import pytest
import redis
from starlette.types import Message

from api.app import create_app
from api.live.waiters import Waiters
from streams.connection import connect
from streams.settings import Settings
from tests.api.conftest import Asker, Writer, _running, writer_to
from tests.support.servers import RedisFactory
from tests.support.tokens import FAR

pytestmark = pytest.mark.anyio

JOB = "/api/v1/jobs/{}/progress/"


async def etag_at(client: httpx.AsyncClient, path: str) -> dict[str, str]:
    """Return the header with the entity tag of the current answer."""
    return {"if-none-match": (await client.get(path)).headers["etag"]}


async def until(condition: Callable[[], bool]) -> None:
    """Return when the condition holds; other tasks run meanwhile."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


def subscribed(client: redis.Redis, tenant: str = "t") -> bool:
    ((_, number),) = client.pubsub_numsub(f"tenant:{tenant}:feed")
    return bool(number)


@pytest.mark.parametrize("path", [JOB, "/media/videos/{}/progress"])
async def test_wait__answers_at_the_change(
    ask: Asker, write: Writer, redis_client: redis.Redis, path: str
) -> None:
    path, kind = path.format("7"), "video" if "videos" in path else "job"
    write("t", {"type": "processing", "kind": kind, "id": "7"})
    async with ask() as client:
        known = await etag_at(client, path)
        waiting = [
            asyncio.ensure_future(client.get(f"{path}?wait=30", headers=known)) for _ in range(20)
        ]
        await until(lambda: subscribed(redis_client))
        write("t", {"type": "processing", "kind": kind, "id": "8"})
        write("another", {"type": "done", "kind": kind, "id": "7"})
        write("t", {"type": "done", "kind": kind, "id": "7"})
        answers = await asyncio.wait_for(asyncio.gather(*waiting), 10)
        now = await client.get(path)
    assert {(answer.status_code, answer.content) for answer in answers} == {(200, now.content)}
    assert now.json()["status"] in ("DONE", "READY")
    assert "retry-after" not in now.headers


async def test_wait__nothing_changes__not_modified(ask: Asker, write: Writer) -> None:
    write("t", {"type": "processing", "id": "a1"})
    async with ask() as client:
        path = JOB.format("a1")
        known = await etag_at(client, path)
        for wait in ("0", "0.05", "5e-2"):
            answer = await client.get(f"{path}?wait={wait}", headers=known)
            assert (answer.status_code, answer.content) == (304, b"")
            assert answer.headers["etag"] == known["if-none-match"]
            assert answer.headers["retry-after"] == "2"


@pytest.mark.parametrize("job_id", ["a1", "none"])
async def test_wait__token_expires_meanwhile__answers_then(
    ask: Asker, write: Writer, job_id: str
) -> None:
    write("t", {"type": "processing", "id": "a1"})
    secret, path = "s" * 32, JOB.format(job_id)

    def bearer(seconds: float) -> dict[str, str]:
        claims = {"exp": int(time.time() + seconds), "tenant_id": "t"}
        return {"authorization": f"Bearer {jwt.encode(claims, secret)}"}

    async with ask(auth="jwt", jwt_secret=secret) as client:
        tag = (await client.get(JOB.format("a1"), headers=bearer(60))).headers["etag"]
        deadline = asyncio.get_running_loop().time() + 29
        headers = {**bearer(2), "if-none-match": tag}
        answer = await client.get(f"{path}?wait=30", headers=headers)
        assert asyncio.get_running_loop().time() < deadline
        assert answer.status_code == (304 if job_id == "a1" else 404)


async def test_wait__another_state_is_known__answers_at_once(ask: Asker, write: Writer) -> None:
    write("t", {"type": "processing", "id": "a1"})
    async with ask() as client:
        for known in ({}, {"if-none-match": '"other"'}, {"if-none-match": "nonsense"}):
            answer = await client.get(JOB.format("a1") + "?wait=30", headers=known)
            assert answer.json()["job_id"] == "a1"


TAGS = [None, '"0000000000000000"', "*", "nonsense"]


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("path", [JOB, "/media/videos/{}/progress"])
async def test_wait__no_such_job_yet__answers_once_there_is_one(
    ask: Asker, write: Writer, redis_client: redis.Redis, path: str, tag: str | None
) -> None:
    path, kind = path.format("7"), "video" if "videos" in path else "job"
    known = {"if-none-match": tag} if tag else {}
    async with ask() as client:
        waiting = [
            asyncio.ensure_future(client.get(f"{path}?wait=30", headers=known)) for _ in range(20)
        ]
        await until(lambda: subscribed(redis_client))
        write("t", {"type": "queued", "kind": kind, "id": "8"})
        write("another", {"type": "queued", "kind": kind, "id": "7"})
        write("t", {"type": "queued", "kind": "job" if kind == "video" else "video", "id": "7"})
        assert not any(each.done() for each in waiting)
        write("t", {"type": "queued", "kind": kind, "id": "7"})
        answers = await asyncio.wait_for(asyncio.gather(*waiting), 10)
        now = await client.get(path)
    assert {(each.status_code, each.content) for each in answers} == {(200, now.content)}


async def test_wait__job_created_between_reading_and_waiting__seen(
    ask: Asker, write: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    register = Waiters.register

    def create_and_register(self: Waiters, tenant: str) -> Any:
        write("t", {"type": "queued", "id": "a1"})
        return register(self, tenant)

    async with ask() as client:
        monkeypatch.setattr(Waiters, "register", create_and_register)
        waiting = client.get(JOB.format("a1") + "?wait=30")
        assert (await asyncio.wait_for(waiting, 10)).json()["status"] == "PENDING"


@pytest.mark.parametrize("path", [JOB, "/media/videos/{}/progress/"])
async def test_wait__no_such_job__not_found_after_the_time_whatever_the_reason(
    ask: Asker, write: Writer, path: str
) -> None:
    """A missing job, another tenant's and one outside the token's list: the same answer."""
    kind = "video" if "videos" in path else "job"
    for tenant, job_id in (("another", "a1"), ("t", "other")):
        write(tenant, {"type": "processing", "kind": kind, "id": job_id})
    secret = "s" * 32
    narrowed = jwt.encode({"exp": FAR, "tenant_id": "t", f"{kind}s": ["a1", "a2"]}, secret)
    loop = asyncio.get_running_loop()
    async with ask(
        {"authorization": f"Bearer {narrowed}"}, auth="jwt", jwt_secret=secret
    ) as client:

        async def asked(job_id: str, tag: str | None) -> tuple[int, bytes, bytes, bool]:
            start = loop.time()
            known = {"if-none-match": tag} if tag else {}
            found = await client.get(path.format(job_id) + "?wait=0.3", headers=known)
            held = loop.time() - start >= 0.3
            return found.status_code, found.content, str(found.headers).encode(), held

        plain = await client.get(path.format("a2"))
        answers = await asyncio.gather(
            *(asked(job_id, tag) for job_id in ("a1", "a2", "other", "none") for tag in TAGS)
        )
    assert set(answers) == {(404, plain.content, str(plain.headers).encode(), True)}


async def test_wait__no_job_can_have_the_id__not_found_at_once(ask: Asker) -> None:
    async with ask() as client:
        answer = await asyncio.wait_for(client.get(JOB.format(":") + "?wait=30"), 10)
    assert answer.status_code == 404


async def test_wait__job_expires_meanwhile__held_until_it_is_back(
    ask: Asker, write: Writer, redis_client: redis.Redis
) -> None:
    write("t", {"type": "processing", "id": "a1"})
    async with ask() as client:
        path = JOB.format("a1")
        known = await etag_at(client, path)
        waiting = asyncio.ensure_future(client.get(path + "?wait=30", headers=known))
        await until(lambda: subscribed(redis_client))
        redis_client.delete("tenant:t:job:a1:status", "tenant:t:job:a1:progress")
        short = await client.get(path + "?wait=0.1", headers=known)
        assert (short.status_code, waiting.done()) == (404, False)
        write("t", {"type": "done", "id": "a1"})
        assert (await asyncio.wait_for(waiting, 10)).json()["status"] == "DONE"


async def test_wait__no_such_job_and_too_many_wait__refused(
    ask: Asker, redis_client: redis.Redis
) -> None:
    async with ask(max_streams_per_tenant=3) as client:
        waiting = [asyncio.ensure_future(client.get(JOB.format(n) + "?wait=1")) for n in "abc"]
        await until(lambda: subscribed(redis_client))
        refused = await client.get(JOB.format("d") + "?wait=1")
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert {each.status_code for each in await asyncio.gather(*waiting)} == {404}


async def test_wait__redis_goes_away_meanwhile__the_job_is_seen_once_it_is_back(
    own_redis: RedisFactory,
) -> None:
    server = own_redis()
    app = create_app(Settings(redis_url=server.url, auth="dev"))
    client = httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://localhost",
        headers={"x-tenant-id": "t"},
    )
    async with _running(app), client:
        path = JOB.format("a1")
        waiting = asyncio.ensure_future(client.get(path + "?wait=30"))
        with connect(server.url) as redis_client:
            await until(lambda: subscribed(redis_client))
        server.stop()
        away = await client.get(path + "?wait=30")
        assert (away.status_code, away.headers["retry-after"]) == (503, "1")
        server.start()
        with connect(server.url) as redis_client:
            writer_to(redis_client)("t", {"type": "done", "id": "a1"})
        answer = await asyncio.wait_for(waiting, 30)
        while answer.status_code == 503:  # it looked too early
            answer = await client.get(path + "?wait=30")
        assert answer.json()["status"] == "DONE"


@pytest.mark.parametrize(
    "form",
    ['W/"{}"', '"{}-gzip"', 'W/"{}-gzip"', '"{};gzip"', '"{}--gzip"', '"{}-br"', '"{}-zstd"',
     '"{}"-gzip', '"a", "{}-gzip"', 'W/"{}-br" , "b"', '"{}-gzip-br"'],
)  # fmt: skip
async def test_wait__tag_that_a_proxy_altered__is_the_same_tag(
    ask: Asker, write: Writer, form: str
) -> None:
    write("t", {"type": "processing", "id": "a1"})
    async with ask() as client:
        path = JOB.format("a1")
        opaque = (await etag_at(client, path))["if-none-match"].strip('"')
        known = {"if-none-match": form.format(opaque)}
        answer = await client.get(path + "?wait=0.1", headers=known)
        assert (answer.status_code, answer.headers["etag"]) == (304, f'"{opaque}"')


@pytest.mark.parametrize(
    "wait", ["30.1", "-1", "x", "", "nan", "inf", "1e9", "0x1", "1 0", "1_0", "1&wait=2", "9" * 400]
)
async def test_wait__not_a_number_from_0_to_30__refused(ask: Asker, wait: str) -> None:
    async with ask() as client:
        answer = await client.get(f"{JOB.format('a1')}?wait={wait}")
    assert (answer.status_code, answer.json()["parameter"]) == (400, "wait")


@pytest.mark.parametrize("query", ["wait=30", "wait=0", "w%61it=0", "waiter=x", "other=1", "&&"])
async def test_wait__and_other_queries__accepted(ask: Asker, write: Writer, query: str) -> None:
    write("t", {"type": "processing", "id": "a1"})
    async with ask() as client:
        assert (await client.get(f"{JOB.format('a1')}?{query}")).status_code == 200


async def test_wait__state_changed_between_reading_and_waiting__seen(
    ask: Asker, write: Writer, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change before the subscription notifies nobody, so the state is read again after it."""
    write("t", {"type": "processing", "id": "a1"})
    register = Waiters.register

    def change_and_register(self: Waiters, tenant: str) -> Any:
        write("t", {"type": "done", "id": "a1"})
        return register(self, tenant)

    async with ask() as client:
        known = await etag_at(client, JOB.format("a1"))
        monkeypatch.setattr(Waiters, "register", change_and_register)
        waiting = client.get(JOB.format("a1") + "?wait=30", headers=known)
        assert (await asyncio.wait_for(waiting, 10)).json()["status"] == "DONE"


async def test_wait__client_goes_away__nothing_is_left(
    write: Writer, redis_url: str, redis_client: redis.Redis
) -> None:
    write("t", {"type": "processing", "id": "a1"})
    registry = Waiters(10)
    settings = Settings(redis_url=redis_url, auth="dev")
    app = create_app(settings, waiters=registry)
    gone, sent = asyncio.Event(), list[Message]()

    async def receive() -> Message:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    def get(query: bytes, headers: list[tuple[bytes, bytes]]) -> Awaitable[None]:
        scope = {"type": "http", "method": "GET", "path": JOB.format("a1"), "query_string": query}
        return app({**scope, "headers": [(b"x-tenant-id", b"t"), *headers]}, receive, send)

    async with _running(app):
        await get(b"", [])
        etag = dict(sent[0]["headers"])[b"etag"]
        waiting = asyncio.ensure_future(get(b"wait=30", [(b"if-none-match", etag)]))
        await until(lambda: len(registry) == 1 and subscribed(redis_client))
        gone.set()
        await asyncio.wait_for(waiting, 10)
        assert len(registry) == 0


async def test_wait__redis_connection_lost__the_change_is_seen(
    ask: Asker, write: Writer, redis_client: redis.Redis
) -> None:
    write("t", {"type": "processing", "id": "a1"})
    async with ask() as client:
        known = await etag_at(client, JOB.format("a1"))
        waiting = asyncio.ensure_future(client.get(JOB.format("a1") + "?wait=30", headers=known))
        await until(lambda: subscribed(redis_client))
        redis_client.client_kill_filter(_type="pubsub")
        write("t", {"type": "done", "id": "a1"})
        assert (await asyncio.wait_for(waiting, 20)).json()["status"] == "DONE"


@pytest.mark.parametrize(
    ("remaining", "hint"), [(None, "2"), (5, "1"), (61, "3"), (100_000, "10"), (0, "2")]
)
@pytest.mark.parametrize("kind", ["job", "video"])
async def test_hint__when_to_poll_next(
    ask: Asker, write: Writer, kind: str, remaining: int | None, hint: str
) -> None:
    """More often the sooner the job will end; never after its end."""
    path = JOB.format("7") if kind == "job" else "/media/videos/7/progress/"
    write("t", {"type": "progress", "kind": kind, "id": "7", "remaining_seconds": remaining})
    async with ask() as client:
        answer = await client.get(path)
        assert answer.headers["retry-after"] == hint
        known = {"if-none-match": answer.headers["etag"]}
        assert (await client.get(path, headers=known)).headers["retry-after"] == hint
        write("t", {"type": "failed", "kind": kind, "id": "7"})
        assert "retry-after" not in (await client.get(path)).headers

"""`?after=ENTRY_ID`: the answer reflects that entry, or tells that it does not.

Groups and deliveries are made by hand here, so that entries are settled in any order.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
import redis

from projections.decoding import decode
from projections.reading.settled import SettledReader
from projections.status.writer import StatusCache
from streams.compat import (
    Bridge,
    get_job_status,
    get_video_encoding_progress,
    get_video_encoding_remaining_seconds,
    get_video_encoding_step_detail,
    get_video_status,
    is_reflected,
)
from streams.connection import connect_async
from streams.entry_ids import EntryId
from tests.api.conftest import Asker
from tests.support.waiting import eventually

pytestmark = pytest.mark.anyio

JOB = "/api/v1/jobs/{}/progress/"
STREAM = "tenant:t:events"
AWAY = "99999999999999-0"
"""An entry id that no stream has reached."""


class Consumers:
    """The group `status` of the tenant `t`, whose consumers settle what the test tells them."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._cache = StatusCache(client)
        client.xgroup_create(STREAM, "status", "0", mkstream=True)

    def append(self, **event: Any) -> str:
        """Append an event raw, and return its entry id."""
        return self.append_text(json.dumps(event))

    def append_text(self, text: str) -> str:
        entry_id: Any = self._client.xadd(STREAM, {"event": text})
        return str(entry_id.decode())

    def deliver(self, consumer: str = "one", count: int = 100) -> None:
        """Deliver new entries to a consumer, which does nothing with them."""
        self._client.xreadgroup("status", consumer, {STREAM: ">"}, count=count)

    def settle(self, entry_id: str) -> None:
        """Apply a delivered entry and acknowledge it."""
        found: Any = self._client.xrange(STREAM, entry_id, entry_id)
        ((_, fields),) = found
        raw = [part for pair in fields.items() for part in pair]
        self._cache.apply([decode("t", EntryId.parse(entry_id), raw)])
        self.acknowledge(entry_id)

    def ids(self) -> list[str]:
        """Return the ids of all entries."""
        found: Any = self._client.xrange(STREAM)
        return [entry_id.decode() for entry_id, _ in found]

    def acknowledge(self, entry_id: str) -> None:
        self._client.xack(STREAM, "status", entry_id)


@pytest.fixture
def consumers(redis_client: redis.Redis) -> Consumers:
    return Consumers(redis_client)


def pending_questions(client: redis.Redis) -> int:
    """Return how often the server has been asked for pending entries."""
    stats: Any = client.info("commandstats")
    return int(stats.get("cmdstat_xpending", {}).get("calls", 0))


def told(answer: httpx.Response) -> tuple[int, str | None]:
    return answer.status_code, answer.headers.get("jobtrail-after")


@pytest.mark.parametrize("kind", ["job", "video"])
async def test_answer_is_held_until_the_entry_is_settled(
    ask: Asker, consumers: Consumers, redis_client: redis.Redis, kind: str
) -> None:
    path = JOB.format("7") if kind == "job" else "/media/videos/7/progress/"
    consumers.append(type="queued", id="7", kind=kind)
    mine = consumers.append(type="done", id="7", kind=kind)
    async with ask() as client:
        at_once = await client.get(f"{path}?after={mine}&wait=0")
        asked = pending_questions(redis_client)
        held = asyncio.ensure_future(client.get(f"{path}?after={mine}&wait=30"))
        by_default = asyncio.ensure_future(client.get(f"{path}?after={mine}"))
        async with asyncio.timeout(60):
            while pending_questions(redis_client) == asked:
                await asyncio.sleep(0.01)
        assert not held.done()
        assert not by_default.done()
        consumers.deliver()
        consumers.settle(mine)
        answers = await asyncio.wait_for(asyncio.gather(held, by_default), 20)
        plain = await client.get(path)
    assert told(at_once) == (404, "pending")
    for answer in answers:
        assert told(answer) == (200, "reflected")
        assert answer.json()["status"] in ("DONE", "READY")
        assert answer.headers["etag"] == plain.headers["etag"]
    assert told(plain) == (200, None)


async def test_later_entry_that_is_settled_first_does_not_count(
    ask: Asker, consumers: Consumers
) -> None:
    first, second = (consumers.append(type=word, id="a1") for word in ("processing", "done"))
    consumers.deliver("one", count=1)
    consumers.deliver("two", count=1)
    consumers.settle(second)
    path = JOB.format("a1")
    async with ask() as client:
        assert told(await client.get(f"{path}?after={second}&wait=0")) == (200, "reflected")
        assert told(await client.get(f"{path}?after={first}&wait=0.1")) == (200, "pending")
        consumers.settle(first)
        assert told(await client.get(f"{path}?after={first}&wait=30")) == (200, "reflected")


async def test_entries_that_change_nothing_are_reflected(
    ask: Asker, consumers: Consumers, redis_client: redis.Redis
) -> None:
    consumers.append(type="done", id="a1", attempt=2)
    older = consumers.append(type="failed", id="a1", attempt=1)
    other_job = consumers.append(type="queued", id="b1")
    dead = consumers.append_text("no JSON")
    consumers.deliver()
    for entry_id in consumers.ids():
        if entry_id == dead:
            consumers.acknowledge(dead)
        else:
            consumers.settle(entry_id)
    redis_client.xtrim(STREAM, maxlen=0)
    async with ask() as client:
        for entry_id in (older, other_job, dead):
            answer = await client.get(f"{JOB.format('a1')}?after={entry_id}&wait=30")
            assert told(answer) == (200, "reflected")
        answer = await client.get(f"{JOB.format('none')}?after={dead}&wait=30")
        assert told(answer) == (404, "reflected")


async def test_nothing_is_known_of_the_entry__answered_after_the_wait(
    ask: Asker, consumers: Consumers, redis_client: redis.Redis
) -> None:
    mine = consumers.append(type="done", id="a1")
    consumers.deliver()
    consumers.settle(mine)
    async with ask() as client:
        assert told(await client.get(f"{JOB.format('a1')}?after={AWAY}&wait=0.1")) == (
            *(200, "pending"),
        )
        redis_client.xgroup_destroy(STREAM, "status")  # it is made again, and reads everything
        assert told(await client.get(f"{JOB.format('a1')}?after={mine}&wait=0")) == (200, "pending")
        redis_client.delete(STREAM)
        assert told(await client.get(f"{JOB.format('a1')}?after={mine}&wait=0")) == (200, "pending")


async def test_other_tenants_streams_decide_nothing(ask: Asker, consumers: Consumers) -> None:
    mine = consumers.append(type="done", id="a1")
    consumers.deliver()
    consumers.settle(mine)
    async with ask({"x-tenant-id": "u"}) as client:
        of_other = await client.get(f"{JOB.format('a1')}?after={mine}&wait=0")
        of_none = await client.get(f"{JOB.format('none')}?after={mine}&wait=0")
    assert told(of_other) == told(of_none) == (404, "pending")
    assert of_other.content == of_none.content


async def test_with_an_etag__held_until_both_hold(ask: Asker, consumers: Consumers) -> None:
    queued = consumers.append(type="queued", id="a1")
    consumers.deliver()
    consumers.settle(queued)
    path = JOB.format("a1")
    async with ask() as client:
        known = {"if-none-match": (await client.get(path)).headers["etag"]}
        answer = await client.get(f"{path}?after={queued}", headers=known)
        assert told(answer) == (304, "reflected")
        done = consumers.append(type="done", id="a1")
        held = asyncio.ensure_future(client.get(f"{path}?after={queued}&wait=30", headers=known))
        consumers.deliver()
        consumers.settle(done)
        assert told(await asyncio.wait_for(held, 20)) == (200, "reflected")
        answer = await client.get(f"{path}?after={AWAY}&wait=0.1", headers=known)
        assert told(answer) == (200, "pending")


@pytest.mark.parametrize(
    "query",
    [
        *("after=", "after=x", "after=1", "after=1-", "after=-1", "after=1-2-3", "after=1-+2"),
        *("after=%201-0", "after=1-0%0a", "after=1.0-0", "after=18446744073709551616-0"),
        *("after=1-0&after=1-0", "after=1-0&wait=x", "aft%65r=x", "after=%D9%A1-0"),
    ],
)
async def test_wrong_entry_id_is_a_bad_request(ask: Asker, query: str) -> None:
    async with ask() as client:
        for path in (JOB.format("a1"), "/media/videos/7/progress/"):
            answer = await client.get(f"{path}?{query}")
            assert answer.status_code == 400
            assert answer.json()["type"] == "bad-request"
            assert answer.json()["parameter"] == ("wait" if "wait" in query else "after")


async def test_many_questions_about_one_entry_are_one_question_to_the_server(
    consumers: Consumers, redis_client: redis.Redis, redis_url: str
) -> None:
    mine = consumers.append(type="done", id="a1")
    consumers.deliver()
    async with connect_async(redis_url) as client:
        reader = SettledReader(client)
        for settled in (False, True):
            before = pending_questions(redis_client)
            questions = [reader.read("t", EntryId.parse(mine)) for _ in range(200)]
            assert set(await asyncio.gather(*questions)) == {settled}
            assert pending_questions(redis_client) == before + 1
            consumers.settle(mine)


def test_sdk_reader_waits_for_an_entry(consumers: Consumers, redis_client: redis.Redis) -> None:
    through = Bridge(redis_client)
    mine = consumers.append(type="done", id="a1")
    assert not is_reflected("t", mine, wait=0.05, through=through)
    assert get_job_status("t", "a1", wait_until=mine, wait=0.05, through=through) is None
    consumers.deliver()
    consumers.settle(mine)
    found = get_job_status("t", "a1", wait_until=EntryId.parse(mine), through=through)
    assert found is not None
    assert found["status"] == "DONE"
    assert is_reflected("t", mine, through=through)
    assert not is_reflected("u", mine, through=through)
    for wrong in ("1", "x", ""):
        with pytest.raises(ValueError, match="entry id"):
            get_job_status("t", "a1", wait_until=wrong, through=through)


STEP = {
    "step_index": 2,
    "step_total": 7,
    "step_name": "hls",
    "step_name_display": "HLS",
    "step_percent": 5,
}


@pytest.mark.parametrize(
    ("reader", "value"),
    [
        (lambda **wait: dict(get_video_status("t", 7, **wait) or {}).get("status"), "PROCESSING"),
        (lambda **wait: get_video_encoding_progress(7, "t", **wait), 40),
        (lambda **wait: get_video_encoding_remaining_seconds(7, "t", **wait), 12),
        (lambda **wait: get_video_encoding_step_detail(7, "t", **wait), STEP),
    ],
)
def test_each_sdk_reader_of_videos_waits_for_an_entry(
    reader: Callable[..., Any], value: Any, consumers: Consumers, redis_client: redis.Redis
) -> None:
    through = Bridge(redis_client)
    fields = {name: value for name, value in STEP.items() if name != "step_name"}
    fields |= {"step": "hls", "percent": 40, "remaining_seconds": 12}
    mine = consumers.append(type="progress", kind="video", id="7", **fields)
    consumers.deliver()
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(reader, wait_until=mine, wait=30, through=through)
        eventually(lambda: pending_questions(redis_client), 30, "the reader asks")
        consumers.settle(mine)
        assert found.result(30) == value
    with pytest.raises(ValueError, match="entry id"):
        reader(wait_until="x", through=through)


def test_a_wait_for_an_entry_needs_its_tenant(redis_client: redis.Redis) -> None:
    through = Bridge(redis_client)
    for reader in (
        get_video_encoding_progress,
        get_video_encoding_remaining_seconds,
        get_video_encoding_step_detail,
    ):
        with pytest.raises(ValueError, match="wait_until needs tenant_id"):
            reader(7, wait_until="1-0", through=through)

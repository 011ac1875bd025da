"""Reads of feeds: a few at a time, and shared by equal requests."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
import redis

from api.live import feed_reads
from api.live.feed_reads import CONCURRENT_READS, FeedReads
from projections.reading.feed import Changes

pytestmark = pytest.mark.anyio


class Reader:
    """A reader that answers with the number of the read, when the test allows it."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.answering = asyncio.Event()
        self.at_once = 0
        self.most_at_once = 0
        self.error: Exception | None = None

    async def newest(self, tenant: str, _nth: int = 1) -> int:
        self.begun.append(tenant)
        number = len(self.begun)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await self.answering.wait()
        self.at_once -= 1
        if self.error:
            raise self.error
        return number

    async def changes(self, tenant: str, after: int) -> Changes:
        return Changes(await self.newest(tenant) + after, [])


@pytest.fixture
def reader() -> Reader:
    return Reader()


@pytest.fixture
def reads(reader: Any) -> FeedReads:
    return FeedReads(reader)


async def begun(*reading: Any) -> list[asyncio.Future[Any]]:
    tasks = [asyncio.ensure_future(each) for each in reading]
    for _ in range(5):
        await asyncio.sleep(0)
    return tasks


async def test_same_read__waiting_ones_share_one_that_begins_after_all_of_them(
    reader: Reader, reads: FeedReads
) -> None:
    first = await begun(reads.newest("t", 5))
    later = await begun(*(reads.newest("t", 5) for _ in range(100)))
    reader.answering.set()
    assert await asyncio.gather(*first) == [1]
    assert set(await asyncio.gather(*later)) <= {2}
    assert len(reader.begun) == 2


async def test_different_reads__few_at_once_and_tenants_by_turns(
    reader: Reader, reads: FeedReads
) -> None:
    many = await begun(*(reads.after("many", n) for n in range(50)))
    one = await begun(reads.newest("one"))
    assert Counter(reader.begun)["one"] == 1
    reader.answering.set()
    await asyncio.gather(*many, *one)
    assert reader.most_at_once <= CONCURRENT_READS
    assert len(reader.begun) == 51


async def test_viewer_goes_away__the_others_get_the_reply(reader: Reader, reads: FeedReads) -> None:
    await begun(*(reads.after("t", n) for n in range(CONCURRENT_READS)))
    leaving, staying = await begun(reads.newest("t"), reads.newest("t"))
    leaving.cancel()
    reader.answering.set()
    assert await staying > 0
    assert leaving.cancelled()


async def test_read_fails__every_waiter_is_told_and_the_next_read_is_a_new_one(
    reader: Reader, reads: FeedReads
) -> None:
    reader.error = redis.ConnectionError("away")
    waiting = await begun(*(reads.newest("t") for _ in range(3)))
    reader.answering.set()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert {str(each) for each in outcomes} == {"away"}
    reader.error = None
    assert await reads.newest("t") > 0


async def test_no_turn_in_time__as_if_redis_were_away(
    reader: Reader, reads: FeedReads, monkeypatch: pytest.MonkeyPatch
) -> None:
    await begun(*(reads.after("t", n) for n in range(CONCURRENT_READS)))
    monkeypatch.setattr(feed_reads, "WAIT_SECONDS", 0.01)
    with pytest.raises(redis.TimeoutError, match="did not begin"):
        await reads.newest("t")
    reader.answering.set()
    assert await reads.newest("t") > 0

"""The feed as the projection writes it and as readers read it, on a fake and a real server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, cast

import fakeredis
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from projections.decoding import Entry, decode
from projections.documents import Documents
from projections.reading.documents import DocumentReader
from projections.reading.feed import AT_ONCE, Change, FeedReader, changed_names, feed_name
from projections.status.writer import StatusCache
from streams.connection import connect_async
from streams.entry_ids import EntryId
from streams.keys import JobKey, Keys
from streams.kinds import KINDS
from tests.support.interrupted import interrupted
from tests.support.strategies import deliveries, logs
from tests.support.thorough import examples

KEYS = Keys()
ONE = JobKey("42", "job", "a1")
FEED = KEYS.feed("42")

fresh = count()


@pytest.fixture(params=["fake", "real"])
def client(request: pytest.FixtureRequest) -> redis.Redis:
    """An empty server of Redis."""
    if request.param == "fake":
        return cast("redis.Redis", fakeredis.FakeRedis())
    return cast("redis.Redis", request.getfixturevalue("redis_client"))


@asynccontextmanager
async def reading(url: str) -> AsyncIterator[FeedReader]:
    client = connect_async(url)
    try:
        yield FeedReader(client, DocumentReader(client))
    finally:
        await client.aclose()


def event(position: str, type_: str, *, job: JobKey = ONE, **fields: Any) -> Entry:
    raw = json.dumps({"type": type_, "kind": job.kind, "id": job.id, **fields}).encode()
    return decode(job.tenant, EntryId.parse(position), [b"event", raw])


def feed(client: redis.Redis, tenant: str = "42") -> list[tuple[str, int]]:
    """Return a complete feed, oldest change first."""
    found = cast("Any", client.zrange(KEYS.feed(tenant), 0, -1, withscores=True))
    return [(name.decode(), int(score)) for name, score in found]


class Listener:
    """Subscriber to a tenant's channel."""

    def __init__(self, client: redis.Redis, tenant: str = "42") -> None:
        self._pubsub = client.pubsub()  # type: ignore[no-untyped-call]
        self._pubsub.subscribe(KEYS.feed(tenant))
        self._pubsub.get_message(timeout=5)

    def heard(self) -> list[bytes]:
        """Return the messages since the last call, once the server has sent all of them."""
        self._pubsub.ping()
        messages: list[bytes] = []
        while (message := self._pubsub.get_message(timeout=5)) and message["type"] == "message":
            messages.append(message["data"])
        self._pubsub.get_message(timeout=0)
        return messages


def test_change__in_the_feed_and_on_the_channel(client: redis.Redis) -> None:
    """One call of the script publishes one message, with the same offsets as in the feed."""
    listener, other = Listener(client), JobKey("42", "video", "7")
    StatusCache(client).apply([event("1-0", "processing"), event("1-0", "queued", job=other)])
    (first, _), (second, _) = found = feed(client)
    assert [first, second] == ["job:a1", "video:7"]
    (message,) = listener.heard()
    assert message.decode() == " ".join(f"{position} {name}" for name, position in found)
    assert list(changed_names(message)) == ["job:a1", "video:7"]


def test_offsets__rise_though_the_clock_does_not(client: redis.Redis) -> None:
    """After a failover to a server whose clock is behind, later offsets are still greater."""
    ahead = 4102444800000000
    client.zadd(FEED, {"job:old": ahead})
    jobs = [JobKey("42", "job", f"a{n}") for n in range(3)]
    StatusCache(client).apply([event("1-0", "processing", job=job) for job in jobs])
    StatusCache(client).apply([event("2-0", "done", job=jobs[0])])
    assert feed(client) == [
        ("job:old", ahead),
        ("job:a1", ahead + 2),
        ("job:a2", ahead + 3),
        ("job:a0", ahead + 4),
    ]


def test_nothing_new__nothing_told(client: redis.Redis) -> None:
    """A redelivery, a renewal and a late event that changes no answer are not reported."""
    cache = StatusCache(client)
    cache.apply([event("5-0", "progress", percent=40)])
    before, listener = feed(client), Listener(client)
    cache.apply([event("5-0", "progress", percent=40)])
    cache.apply([event("1-0", "queued", labels={"class": "3-1"})])
    assert (feed(client), listener.heard()) == (before, [])
    cache.apply([event("1-1", "queued", job_type="excel")])
    assert feed(client) > before
    cache.apply([event("9-0", "done")])
    before, _ = feed(client), listener.heard()
    cache.apply([event("6-0", "progress", percent=60)])
    assert (feed(client), listener.heard()) == (before, [])


def test_tenants__each_has_its_own(client: redis.Redis) -> None:
    jobs = [JobKey(tenant, "job", "a1") for tenant in ("42", "43", "42-1")]
    StatusCache(client).apply([event("1-0", "processing", job=job) for job in jobs])
    assert [[name for name, _ in feed(client, job.tenant)] for job in jobs] == [["job:a1"]] * 3


def test_lost_race__only_what_was_written_is_told(client: redis.Redis) -> None:
    """A writer that loses a race reports no change; its second write reports one."""
    listener = Listener(client)

    moves = iter([[event("9-0", "done")]])
    slow = interrupted(client, lambda: StatusCache(client).apply(next(moves, [])))
    other = JobKey("42", "job", "b1")
    StatusCache(slow).apply(
        [event("1-0", "queued", job_type="x"), event("1-0", "queued", job=other)]
    )
    told = [list(changed_names(message)) for message in listener.heard()]
    assert told == [["job:a1"], ["job:b1"], ["job:a1"]]


def test_size__the_newest_ten_thousand(client: redis.Redis) -> None:
    client.zadd(FEED, {f"job:old{n}": n + 1 for n in range(10_050)})
    StatusCache(client).apply([event("1-0", "processing")])
    names = [name for name, _ in feed(client)]
    assert (len(names), names[0], names[-1]) == (10_000, "job:old51", "job:a1")


def test_life__an_hour_after_the_last_change(client: redis.Redis) -> None:
    StatusCache(client).apply([event("1-0", "processing")])
    assert 3_590 < client.ttl(FEED) <= 3_601
    client.zadd(FEED, {"job:a1": 1})
    client.expire(FEED, 10)
    StatusCache(client).apply([event("2-0", "done")])
    assert 3_590 < client.ttl(FEED) <= 3_601


any_job = st.sampled_from(sorted(KINDS)).flatmap(
    lambda kind: st.sampled_from(["a1", "a2"]).map(lambda id_: JobKey("42", kind, id_))
)


@given(st.lists(any_job, min_size=1, max_size=3, unique=True), st.data())
@settings(
    max_examples=examples(40),
    deadline=None,
    # The client outlives an example; each example has another tenant.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_deliveries__who_looks_when_told_has_every_last_state(
    client: redis.Redis, jobs: list[JobKey], data: st.DataObject
) -> None:
    """A reader of only those jobs that the channel names has all states at any time."""
    tenant = f"t{next(fresh)}"
    listener, seen = Listener(client, tenant), dict[str, bytes]()
    log = [entry for job in jobs for entry in data.draw(logs(job, max_size=6))]
    for batch in data.draw(deliveries(log)):
        StatusCache(client).apply([entry._replace(tenant=tenant) for entry in batch])
        for message in listener.heard():
            for name in changed_names(message):
                kind, _, job_id = name.partition(":")
                status = client.get(KEYS.status(JobKey(tenant, kind, job_id)))
                seen[name] = shown(status)
    assert seen == {
        feed_name(job): shown(client.get(KEYS.status(job._replace(tenant=tenant)))) for job in jobs
    }


def shown(status: Any) -> bytes:
    """Return the fields of a status document that answers contain."""
    document = json.loads(status)
    for hidden in ("fold", "created_at", "started_at", "worker", "labels", "code"):
        del document[hidden]
    return json.dumps(document).encode()


def told(change: Change) -> tuple[int, int]:
    """Return a change's offset and the number in its progress document."""
    assert change.documents is not None
    return change.offset, json.loads(change.documents.progress or b"")["n"]


def run(work: Callable[[FeedReader], Any], url: str) -> Any:
    async def main() -> Any:
        async with reading(url) as reader:
            return await work(reader)

    return asyncio.run(main())


def test_changes__in_order_with_the_documents_of_that_moment(
    redis_client: redis.Redis, redis_url: str
) -> None:
    jobs = [JobKey("42", "job", f"a{n}") for n in range(AT_ONCE + 20)]
    StatusCache(redis_client).apply([event("1-0", "processing", job=job) for job in jobs])
    StatusCache(redis_client).apply([event("2-0", "progress", job=jobs[0], percent=7)])
    redis_client.delete(KEYS.status(jobs[1]))

    async def work(reader: FeedReader) -> Any:
        first = await reader.changes("42", 0)
        rest = await reader.changes("42", first.offset)
        return first, rest, await reader.changes("42", rest.offset), await reader.newest("42", 2)

    first, rest, none, second_newest = run(work, redis_url)
    assert [c.job for c in (*first.changes, *rest.changes)] == [*jobs[1:], jobs[0]]
    assert first.offset == first.changes[-1].offset
    assert (none.offset, none.changes) == (rest.offset, [])
    assert second_newest == rest.changes[-2].offset
    assert first.changes[0].documents is None
    status, progress = cast(
        "list[bytes]", redis_client.mget(KEYS.status(jobs[0]), KEYS.progress(jobs[0]))
    )
    assert rest.changes[-1].documents == Documents(status, progress)


def test_changes__names_of_another_make__passed_over(
    redis_client: redis.Redis, redis_url: str
) -> None:
    redis_client.zadd(FEED, {b"report:1": 1, b"job:\xff": 2, b"nothing": 3})
    assert run(lambda reader: reader.changes("42", 0), redis_url) == (3, [])
    StatusCache(redis_client).apply([event("1-0", "processing")])
    found = run(lambda reader: reader.changes("42", 0), redis_url)
    assert [change.job for change in found.changes] == [ONE]


def test_changes__changing_all_the_while__each_read_once_under_its_own_position(
    redis_client: redis.Redis, redis_url: str
) -> None:
    """No offset is returned with documents of another one, and none is skipped."""
    cache, jobs = StatusCache(redis_client), [JobKey("42", "job", f"a{n}") for n in range(20)]
    numbers = count(1)

    def change() -> None:
        percent = next(numbers)
        job = jobs[percent % len(jobs)]
        cache.apply([event(f"{percent}-0", "progress", job=job, extra={"n": percent})])

    def change_some() -> None:
        for _ in range(10):
            change()

    async def work(reader: FeedReader) -> list[tuple[int, int]]:
        seen, after = list[tuple[int, int]](), 0
        for _ in range(30):
            changing = asyncio.to_thread(change_some)
            found, _ = await asyncio.gather(reader.changes("42", after, 7), changing)
            after = found.offset
            seen += map(told, found.changes)
        while (found := await reader.changes("42", after)).changes:
            after = found.offset
            seen += map(told, found.changes)
        return seen

    seen = run(work, redis_url)
    assert seen == sorted(seen)
    assert len({number for _, number in seen}) == len(seen)
    assert {number for _, number in seen} >= set(range(281, 301))

"""The reader of documents: which reads share an MGET and its failure."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest
import redis
import redis.asyncio

from projections.documents import Documents
from projections.reading.documents import KEYS_PER_MGET, MGETS_AT_ONCE, DocumentReader
from streams.connection import connect_async
from streams.keys import JobKey
from tests.api.conftest import Writer

pytestmark = pytest.mark.anyio


def job(number: int, tenant: str = "t") -> JobKey:
    return JobKey(tenant, "job", str(number))


class Gated(DocumentReader):
    """A reader that holds every MGET until the test releases it or makes it fail."""

    def __init__(self) -> None:
        super().__init__(redis.asyncio.Redis())
        self.calls: list[Sequence[str]] = []
        self.gates: list[asyncio.Future[None]] = []

    async def _mget(self, names: Sequence[str]) -> list[bytes | None]:
        self.calls.append(names)
        gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.gates.append(gate)
        await gate
        return [name.encode() for name in names]


async def turns() -> None:
    """Run all tasks that are ready."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_read__same_turn(redis_url: str, write: Writer, mgets: Callable[[], int]) -> None:
    """Reads of one iteration of the event loop are one MGET; each gets its job's documents."""
    write("t", *({"type": "processing", "id": str(n), "job_type": f"j{n}"} for n in range(50)))
    before = mgets()
    sizes: list[int] = []
    async with connect_async(redis_url) as client:
        reader = DocumentReader(client, on_batch=sizes.append)
        found = await asyncio.gather(*(reader.read(job(n)) for n in range(60)))
    assert mgets() - before == 1
    assert sizes == [60]
    for number, documents in enumerate(found[:50]):
        assert documents is not None
        assert f'"job_type":"j{number}"'.encode() in documents.status
    assert found[50:] == [None] * 10


async def test_read__same_job_twice() -> None:
    """Reads of one job in one iteration request it once, and all get the result."""
    reader = Gated()
    waiters = [asyncio.ensure_future(reader.read(job(1))) for _ in range(3)]
    await turns()
    assert reader.calls == [["tenant:t:job:1:status", "tenant:t:job:1:progress"]]
    reader.gates[0].set_result(None)
    assert len(set(await asyncio.gather(*waiters))) == 1


async def test_read__cancelled_waiter() -> None:
    """A cancelled read cancels no other one, not even of the same job."""
    reader = Gated()

    async def read(number: int) -> Documents | None:
        return await reader.read(job(number))

    gone, same, other = (asyncio.create_task(read(n)) for n in (1, 1, 2))
    await turns()
    gone.cancel()
    await turns()
    reader.gates[0].set_result(None)
    assert await same is not None
    assert await other is not None
    assert gone.cancelled()


async def test_read__failing_mget() -> None:
    """A failing MGET fails exactly the reads that share it."""
    reader = Gated()
    first = [reader.read(job(n)) for n in range(2)]
    await turns()
    second = reader.read(job(3))
    await turns()
    reader.gates[0].set_exception(redis.ConnectionError("away"))
    reader.gates[1].set_result(None)
    failures = await asyncio.gather(*first, return_exceptions=True)
    assert [type(failure) for failure in failures] == [redis.ConnectionError] * 2
    assert await second is not None
    third = reader.read(job(4))
    await turns()
    reader.gates[2].set_result(None)
    assert await third is not None


async def test_read__many_jobs() -> None:
    """The keys of an MGET and the number of concurrent ones are limited; every read ends."""
    reader = Gated()
    jobs = KEYS_PER_MGET // 2 * (MGETS_AT_ONCE + 1)
    waiters = [reader.read(job(n)) for n in range(jobs)]
    await turns()
    assert [len(call) for call in reader.calls] == [KEYS_PER_MGET] * MGETS_AT_ONCE
    reader.gates[0].set_result(None)
    await turns()
    assert len(reader.calls) == MGETS_AT_ONCE + 1
    for gate in reader.gates[1:]:
        gate.set_result(None)
    assert [found.status for found in await asyncio.gather(*waiters) if found] == [
        f"tenant:t:job:{n}:status".encode() for n in range(jobs)
    ]


async def test_read_many(redis_url: str, write: Writer, mgets: Callable[[], int]) -> None:
    """Many jobs take one MGET; they are returned in order, missing ones as None."""
    write("t", {"type": "processing", "id": "1"}, {"type": "progress", "id": "2", "percent": 3})
    before = mgets()
    async with connect_async(redis_url) as client:
        reader = DocumentReader(client)
        found = await reader.read_many([job(2), job(9), job(1), job(1, tenant="u")])
        assert await reader.read_many([]) == []
    assert mgets() - before == 1
    assert [documents is None for documents in found] == [False, True, False, True]
    assert found[0] is not None
    assert found[0].progress is not None


LEGACY = b'{"step":"old"}'


@pytest.mark.parametrize(
    ("legacy", "events", "expected"),
    [
        (True, [{"type": "processing"}], LEGACY),
        (False, [{"type": "processing"}], None),
        (True, [{"type": "queued"}], None),
        (True, [{"type": "processing"}, {"type": "done"}], None),
    ],
)
@pytest.mark.parametrize(
    ("kind", "key"), [("job", "job:1:progress"), ("video", "job:video:1:progress")]
)
async def test_read__legacy(
    redis_url: str,
    redis_client: redis.Redis,
    write: Writer,
    mgets: Callable[[], int],
    *,
    kind: str,
    key: str,
    legacy: bool,
    events: list[dict[str, str]],
    expected: bytes | None,
) -> None:
    """The old key replaces the progress of processing jobs only, in the same MGET."""
    write("t", *({**event, "id": "1", "kind": kind} for event in events))
    redis_client.set(key, LEGACY)
    before = mgets()
    async with connect_async(redis_url) as client:
        found = await DocumentReader(client, legacy=legacy).read(JobKey("t", kind, "1"))
    assert mgets() - before == 1
    assert found is not None
    assert found.progress == expected


async def test_read__legacy_behind_own_progress(
    redis_url: str, redis_client: redis.Redis, write: Writer
) -> None:
    write("t", {"type": "progress", "id": "1", "step": "new"})
    redis_client.set("job:1:progress", LEGACY)
    async with connect_async(redis_url) as client:
        found = await DocumentReader(client, legacy=True).read(job(1))
    assert found is not None
    assert b'"step":"new"' in (found.progress or b"")


@pytest.mark.parametrize("status", [None, b"{", b"[]", b'{"status":"DONE"}'])
async def test_read__legacy_without_processing_status(
    redis_url: str, redis_client: redis.Redis, status: bytes | None
) -> None:
    """An old key alone is no job, because it has no tenant."""
    redis_client.set("job:1:progress", LEGACY)
    if status is not None:
        redis_client.set("tenant:t:job:1:status", status)
    async with connect_async(redis_url) as client:
        found = await DocumentReader(client, legacy=True).read(job(1))
    assert found == (None if status is None else Documents(status, None))

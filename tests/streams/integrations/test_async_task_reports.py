"""The common part of integrations of asyncio frameworks: reports that disturb no task."""

from __future__ import annotations

import asyncio
import time

import pytest
import redis

from streams.async_reporter import AsyncReporter
from streams.integrations.async_task_reports import AsyncTaskReports
from streams.integrations.task_reports import Task
from tests.support.job_ends import JobEnds
from tests.support.servers import RedisFactory

TASK = Task("t1", "grade", kwargs={"tenant_id": 7})


async def run(reports: AsyncTaskReports, task: Task = TASK) -> int | None:
    """Run a task from its start to its end; return the attempt."""
    started = await reports.started(task)
    if started is None:
        return None
    await reports.report(started, started.done({"sheets": 3}))
    return started.task.attempt


def test_a_task_that_runs_after_its_end_is_the_next_attempt(
    redis_url: str, redis_client: redis.Redis
) -> None:
    async def run_often() -> list[int | None]:
        async with AsyncReporter.from_url(redis_url) as first:
            attempts = [await run(AsyncTaskReports(through=first)) for _ in range(2)]
        assert JobEnds(redis_client).ended("t1")["attempt"] == 2
        async with AsyncReporter.from_url(redis_url) as other:  # as of another process
            return [*attempts, await run(AsyncTaskReports(through=other))]

    assert asyncio.run(run_often()) == [1, 2, 3]


def test_a_mistake_of_the_application_is_a_warning(
    redis_url: str, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(task: Task) -> int:
        raise LookupError("no school")

    async def report() -> None:
        async with AsyncReporter.from_url(redis_url, strict=True) as reporter:
            assert await run(AsyncTaskReports(fails, reporter)) is None
            reports = AsyncTaskReports(through=reporter)
            for wrong in (
                Task("t 1", "x", kwargs=TASK.kwargs),
                Task("t1", "x", kwargs={"tenant_id": "!"}),
            ):
                await reports.queued(wrong)
                assert await run(reports, wrong) is None
            started = await reports.started(TASK)
            assert started is not None
            await reports.report(started, started.done(object()))

    asyncio.run(report())
    assert "LookupError: no school" in caplog.text
    assert [event["type"] for event in JobEnds(redis_client).events("t1")] == ["processing"]


@pytest.mark.parametrize("value", ["{", "[1]"])
def test_a_status_that_is_no_document_disturbs_no_report(
    redis_url: str, redis_client: redis.Redis, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    redis_client.set("tenant:7:job:t1:status", value)

    async def report() -> int | None:
        async with AsyncReporter.from_url(redis_url) as reporter:
            return await run(AsyncTaskReports(through=reporter))

    assert asyncio.run(report()) == 1
    assert JobEnds(redis_client).events("t1")[-1]["type"] == "done"
    assert caplog.text == ""


def test_an_outage_neither_fails_a_task_nor_blocks_its_loop(own_redis: RedisFactory) -> None:
    server = own_redis()

    async def report() -> tuple[float, float]:
        reporter = AsyncReporter.from_url(server.url, end_retry_seconds=1)
        reports = AsyncTaskReports(through=reporter)
        assert await run(reports) == 1
        server.kill()
        watch = asyncio.create_task(_longest_block())
        began = time.monotonic()
        await reports.queued(TASK)
        await asyncio.gather(
            *(run(reports, Task(f"t{n}", "grade", kwargs=TASK.kwargs)) for n in range(20))
        )
        took = time.monotonic() - began
        watch.cancel()
        return took, await watch

    took, block = asyncio.run(report())
    assert took < 60
    assert block < 0.5  # a blocking reporter would wait for seconds


async def _longest_block() -> float:
    longest = 0.0
    while True:
        began = time.monotonic()
        try:
            await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            return longest
        longest = max(longest, time.monotonic() - began - 0.01)


def test_without_a_server_tasks_run_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("JOBTRAIL_REDIS_URL", raising=False)
    reports = AsyncTaskReports()
    assert asyncio.run(run(reports)) is None
    assert asyncio.run(run(reports)) is None
    assert caplog.text.count("JOBTRAIL_REDIS_URL is not set") == 1

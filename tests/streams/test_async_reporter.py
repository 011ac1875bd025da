from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis
import uvloop

from ops.devstack import EmbeddedRedis
from streams.appender import EventAppender
from streams.async_job_report import AsyncJobReport
from streams.async_reporter import AsyncReporter
from streams.connection import LogUnavailable, connect
from streams.events import InvalidEvent
from streams.tracking import current_job
from tests.support.servers import RedisFactory
from tests.support.waiting import eventually

_T = TypeVar("_T")


def events(client: redis.Redis, tenant: str = "42") -> list[dict[str, Any]]:
    entries: Any = client.xrange(f"tenant:{tenant}:events")
    return [json.loads(fields[b"event"]) for _, fields in entries]


def types(client: redis.Redis, job: str | None = None) -> list[str]:
    return [event["type"] for event in events(client) if job in (None, event["id"])]


@pytest.fixture
def server(own_redis: RedisFactory) -> EmbeddedRedis:
    """A Redis that the test stops, and that keeps nothing."""
    return own_redis(persist=False)


@pytest.fixture
def client(server: EmbeddedRedis) -> Iterator[redis.Redis]:
    """A client with a worker's timeouts, for the Redis that the test stops."""
    with connect(server.url, timeout=1.0, connect_timeout=1.0) as made:
        yield made


def on_loop(
    work: Callable[[AsyncReporter], Coroutine[Any, Any, _T]], reporter: AsyncReporter
) -> _T:
    """Run a coroutine with a reporter that is closed at its end."""

    async def run() -> _T:
        async with reporter:
            return await work(reporter)

    return asyncio.run(run())


def reporter_of(client: redis.Redis, **options: Any) -> AsyncReporter:
    return AsyncReporter(EventAppender(client), worker="w1", **options)


def test_job__same_words_as_the_blocking_one(redis_client: redis.Redis) -> None:
    async def work(reporter: AsyncReporter) -> None:
        await reporter.queued("a1", tenant=42, job_type="excel")
        async with reporter.job("a1", tenant=42, job_type="excel", labels={"class": 3}) as job:
            await job.progress("parsing", percent=10)
            await job.done({"rows": 5})
        async with reporter.job("a2", tenant="42") as job:
            await job.failed("no such file", code="missing")
        async with reporter.job("a3", tenant="42") as job:
            await job.cancelled("not needed")
        async with reporter.job("a4", tenant="42"):
            pass
        with pytest.raises(ZeroDivisionError):
            async with reporter.job("a5", tenant="42"):
                _ = 1 / 0

    on_loop(work, reporter_of(redis_client))
    assert types(redis_client, "a1") == ["queued", "processing", "progress", "done"]
    assert types(redis_client, "a2") == ["processing", "failed"]
    assert types(redis_client, "a3") == ["processing", "cancelled"]
    assert types(redis_client, "a4") == ["processing", "done"]
    assert types(redis_client, "a5") == ["processing", "failed"]
    first = events(redis_client)[3]
    assert (first["result"], first["labels"], first["worker"]) == (
        {"rows": 5},
        {"class": "3"},
        "w1",
    )


def test_strict__mistakes_are_raised(redis_client: redis.Redis) -> None:
    async def work(reporter: AsyncReporter) -> None:
        with pytest.raises(InvalidEvent):
            async with reporter.job("a b", tenant="42"):
                pass
        assert current_job() is None
        with pytest.raises(InvalidEvent):
            async with reporter.job("a1", tenant="42") as job:
                job.progress(percent="x")  # type: ignore[arg-type]  # the mistake

    on_loop(work, reporter_of(redis_client, strict=True))
    assert types(redis_client) == ["processing", "failed"]


def test_many_jobs__everything_is_appended_and_ends_share_round_trips(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs, durable = 300, list[bool]()
    reporter = reporter_of(redis_client)
    appender = reporter.delivery.appender
    append = appender.append_many

    def counted(*arguments: Any, **options: Any) -> Any:
        durable.append(options.get("durable", False))
        return append(*arguments, **options)

    monkeypatch.setattr(appender, "append_many", counted)

    async def work(reporter: AsyncReporter) -> None:
        async def one(number: int) -> None:
            async with reporter.job(number, tenant=42) as job:
                for percent in range(50):
                    await job.progress(percent)
                await job.done({"number": number})

        await asyncio.gather(*(one(number) for number in range(jobs)))

    on_loop(work, reporter)
    found = events(redis_client)
    assert Counter(event["type"] for event in found if event["type"] != "progress") == {
        "processing": jobs,
        "done": jobs,
    }
    last = {event["id"]: event["percent"] for event in found if event["type"] == "progress"}
    assert last == {str(number): 49 for number in range(jobs)}
    of_one = types(redis_client, "7")
    assert (of_one[0], of_one[-1]) == ("processing", "done")
    assert sum(durable) < jobs / 5


def test_progress__at_the_rate_and_the_last_value(redis_client: redis.Redis) -> None:
    async def work(reporter: AsyncReporter) -> None:
        started = time.monotonic()
        async with reporter.job("a1", tenant="42") as job:
            for number in range(2_000):
                await job.progress(percent=number / 20)
            # The last value comes without another call.
            while not any(each.get("percent", 0) > 99 for each in events(redis_client)):
                await asyncio.sleep(0.01)
        percents = [each["percent"] for each in events(redis_client) if each["type"] == "progress"]
        assert percents[-1] == 99.95
        assert 2 <= len(percents) <= 3 + (time.monotonic() - started) * 4

    on_loop(work, reporter_of(redis_client))


def test_no_call__runs_io_on_the_loop(
    server: EmbeddedRedis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections, commands, pauses, name lookups and the spool are other threads' business."""
    threads: dict[str, set[int]] = {}

    def watch(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def watched(*arguments: Any, **options: Any) -> Any:
            threads.setdefault(name, set()).add(threading.get_ident())
            return original(*arguments, **options)

        monkeypatch.setattr(owner, name, watched)

    reporter = AsyncReporter.from_url(server.url, spool=tmp_path, end_retry_seconds=0.3)
    watch(redis.Connection, "connect")
    watch(redis.Connection, "send_packed_command")
    watch(redis.Connection, "read_response")
    watch(redis.Connection, "disconnect")
    watch(socket, "getaddrinfo")
    watch(os, "fsync")
    watch(time, "sleep")

    async def work(reporter: AsyncReporter) -> int:
        async with reporter.job("a1", tenant="42", attempt="next") as job:
            await job.progress(50)
        server.kill()
        async with reporter.job("a2", tenant="42", attempt="next") as job:
            await job.progress(50)
        return threading.get_ident()

    mine = on_loop(work, reporter)
    assert {"connect", "read_response", "getaddrinfo", "fsync", "sleep"} <= threads.keys()
    assert {name for name, found in threads.items() if mine in found} == set()
    assert len(list(tmp_path.glob("*.event"))) == 1


def test_redis_frozen__loop_goes_on_and_ends_are_delivered_later(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    async def work(reporter: AsyncReporter) -> None:
        async def one(number: int) -> None:
            async with reporter.job(number, tenant=42) as job:
                await job.progress(10)
                await frozen.wait()
                for percent in range(20, 100):
                    await job.progress(percent)

        frozen = asyncio.Event()
        tasks = [asyncio.create_task(one(number)) for number in range(20)]
        await asyncio.sleep(0)
        os.kill(server.pid, signal.SIGSTOP)
        try:
            frozen.set()
            for _ in range(1_000):
                await asyncio.sleep(0.001)
            assert not any(task.done() for task in tasks)
        finally:
            os.kill(server.pid, signal.SIGCONT)
        await asyncio.gather(*tasks)

    on_loop(work, reporter_of(client))
    # An end whose reply was lost is sent again, with the same event id.
    done = {(each["id"], each["event_id"]) for each in events(client) if each["type"] == "done"}
    assert len(done) == 20


def test_redis_away__end_is_raised_to_each_coroutine(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    async def work(reporter: AsyncReporter) -> None:
        async def one(number: int) -> None:
            async with reporter.job(number, tenant=42):
                pass

        async def failing() -> None:
            async with reporter.job("mine", tenant=42):
                raise ValueError("mine")

        server.kill()
        found = await asyncio.gather(*(one(n) for n in range(5)), return_exceptions=True)
        assert [type(error) for error in found] == [LogUnavailable] * 5
        assert len({id(error) for error in found}) == 5
        with pytest.raises(ValueError, match="mine"):
            await failing()

    on_loop(work, reporter_of(client, end_retry_seconds=0.2))


def test_spool__ends_go_there_and_with_the_next_start(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    async def work(reporter: AsyncReporter) -> None:
        async with reporter.job("a1", tenant=42) as job:
            server.kill()
            await job.done({"rows": 7})

    options: dict[str, Any] = {"spool": str(tmp_path / "spool"), "end_retry_seconds": 0}
    on_loop(work, reporter_of(client, **options))
    assert len(list((tmp_path / "spool").iterdir())) == 1
    server.start()

    async def nothing(_: AsyncReporter) -> None: ...

    on_loop(nothing, reporter_of(client, **options))
    assert list((tmp_path / "spool").iterdir()) == []
    assert events(client)[-1]["result"] == {"rows": 7}


def test_wrong_stream_of_one_tenant__does_not_keep_others_waiting(
    redis_client: redis.Redis,
) -> None:
    redis_client.set("tenant:43:events", "no stream")

    async def work(reporter: AsyncReporter) -> None:
        async def one(tenant: int) -> None:
            async with reporter.job(f"a{tenant}", tenant=tenant):
                await asyncio.sleep(0.05)

        found = await asyncio.gather(one(42), one(43), one(44), return_exceptions=True)
        assert [type(error) for error in found] == [type(None), LogUnavailable, type(None)]

    on_loop(work, reporter_of(redis_client, end_retry_seconds=0.5))
    assert types(redis_client)[-1] == "done"


def test_cancelled_task__end_is_sent(redis_client: redis.Redis) -> None:
    async def work(reporter: AsyncReporter) -> None:
        started = asyncio.Event()

        async def one() -> None:
            async with reporter.job("a1", tenant=42) as job:
                await job.progress(10)
                started.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(one())
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert types(redis_client)[-1] == "cancelled"  # before the cancellation went on
        with pytest.raises(TimeoutError):
            async with reporter.job("a2", tenant=42), asyncio.timeout(0.01):
                await asyncio.Event().wait()

    on_loop(work, reporter_of(redis_client))
    cancelled, failed = events(redis_client)[2], events(redis_client)[-1]
    assert cancelled["reason"] == "interrupted: CancelledError"
    assert (failed["type"], failed["code"]) == ("failed", "TimeoutError")


def test_cancelled_while_an_end_is_sent__it_is_sent_all_the_same(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    async def work(reporter: AsyncReporter) -> None:
        async def one() -> None:
            async with reporter.job("a1", tenant=42) as job:
                os.kill(server.pid, signal.SIGSTOP)
                ending.set()
                await job.done({"rows": 1})

        ending = asyncio.Event()
        task = asyncio.create_task(one())
        await ending.wait()
        for _ in range(3):
            await asyncio.sleep(0)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        os.kill(server.pid, signal.SIGCONT)

    on_loop(work, reporter_of(client))
    assert events(client)[-1]["result"] == {"rows": 1}


def test_anything_after_the_end__is_ignored_with_a_warning(
    redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(reporter: AsyncReporter) -> None:
        async with reporter.job("a1", tenant=42) as job:
            await job.done()
            await job.progress(5)
            await job.failed("late")
            assert job.ended

    on_loop(work, reporter_of(redis_client))
    assert types(redis_client) == ["processing", "done"]
    assert len(caplog.records) == 2


def test_one_reporter__serves_several_loops_and_threads(redis_client: redis.Redis) -> None:
    reporter = reporter_of(redis_client)

    def report(job: AsyncJobReport) -> None:
        job.progress(30)

    async def one(number: int) -> None:
        async with reporter.job(number, tenant=42) as job:
            await asyncio.to_thread(report, job)
            await asyncio.to_thread(lambda: report(current_job(AsyncJobReport) or job))

    for number in range(2):
        asyncio.run(one(number))
    threads = [threading.Thread(target=asyncio.run, args=(one(number),)) for number in (2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(4):
        found = types(redis_client, str(number))
        assert (found[0], found[-1], "progress" in found) == ("processing", "done", True)


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_loop_that_has_ended__is_freed(
    redis_client: redis.Redis, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    reporter = reporter_of(redis_client)

    async def one() -> Any:
        async with reporter.job("a1", tenant=42) as job:
            await job.progress(50)
        return weakref.ref(asyncio.get_running_loop())

    with asyncio.Runner(loop_factory=new_loop) as runner:
        loop = runner.run(one())
    del runner

    def freed() -> bool:
        gc.collect()
        return loop() is None

    eventually(freed, what="the end of the loop")


def test_current_job__is_that_of_the_coroutine(redis_client: redis.Redis) -> None:
    async def work(reporter: AsyncReporter) -> None:
        async def one(number: int) -> None:
            async with reporter.job(number, tenant=42) as job:
                await asyncio.sleep(0)
                assert current_job() is job
                async with reporter.job(f"{number}.1", tenant=42) as inner:
                    assert current_job() is inner
                assert current_job() is job

        await asyncio.gather(*(one(number) for number in range(5)))
        assert current_job() is None

    on_loop(work, reporter_of(redis_client))


SCRIPT = """
import asyncio, os, sys, threading
from streams import AsyncReporter

reporter = AsyncReporter.from_env()


async def main():
    job = await reporter.job(f"{os.getpid()}", tenant=42).__aenter__()
    job.progress(1)
    job.progress(99)
    task = asyncio.ensure_future(job.done())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()


asyncio.run(main())
if os.fork():
    os.wait()
else:
    asyncio.run(main())
"""


def test_process_that_ends_without_closing__sends_what_was_reported(
    redis_url: str, redis_client: redis.Redis
) -> None:
    """Also in a forked process, whose events have its own name."""
    subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", SCRIPT],
        env={**os.environ, "JOBTRAIL_REDIS_URL": redis_url},
        check=True,
        timeout=120,
    )
    found = events(redis_client)
    assert len({event["id"] for event in found}) == 2
    for job in {event["id"] for event in found}:
        of_job = [event for event in found if event["id"] == job]
        assert [event["type"] for event in of_job][-2:] == ["progress", "done"]
        assert of_job[-2]["percent"] == 99
        assert {event["worker"].rpartition(":")[2] for event in of_job} == {job}


def test_idle_threads__end(redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.reporting.lane.IDLE_SECONDS", 0.01)

    async def work(reporter: AsyncReporter) -> None:
        async with reporter.job("a1", tenant=42):
            pass

    on_loop(work, reporter_of(redis_client))

    def ours() -> bool:
        return any(thread.name.startswith("jobtrail") for thread in threading.enumerate())

    eventually(lambda: not ours(), what="the end of the threads")

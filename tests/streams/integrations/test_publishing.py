"""Publishing tasks while Redis does not answer: it waits shortly, and no task is lost."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import redis
import rq
from rq.timeouts import JobTimeoutException, UnixSignalDeathPenalty

from ops.devstack import EmbeddedRedis
from streams.appender import EventAppender
from streams.async_reporter import AsyncReporter
from streams.compat.bridge import Bridge
from streams.connection import connect
from streams.integrations.async_task_reports import AsyncTaskReports
from streams.integrations.publishing import Publishing
from streams.integrations.rq import report_tasks
from streams.integrations.task_reports import Task, TaskReports
from streams.reporter import Reporter
from tests.support.servers import RedisFactory
from tests.support.waiting import eventually

SECONDS = 0.5
NUMBER = 10
_LIMIT: Any = UnixSignalDeathPenalty


@pytest.fixture
def server(own_redis: RedisFactory) -> EmbeddedRedis:
    return own_redis(persist=False)


@pytest.fixture
def client_of_server(server: EmbeddedRedis) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url) as client:
        yield client


def task(name: str) -> Task:
    return Task(name, "grade", kwargs={"tenant_id": 42})


def reported(client: redis.Redis) -> set[str]:
    entries: Any = client.xrange("tenant:42:events")
    return {json.loads(fields[b"event"])["id"] for _, fields in entries}


@contextmanager
def frozen(server: EmbeddedRedis) -> Iterator[None]:
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


def losses(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [text for text in caplog.messages if text.startswith("queued of task")]


@pytest.mark.parametrize("timeout", [1.0, None])
def test_blocking_client__redis_is_frozen(
    server: EmbeddedRedis,
    client_of_server: redis.Redis,
    caplog: pytest.LogCaptureFixture,
    timeout: float | None,
) -> None:
    """Whatever timeout the client has; the job appears when the task starts."""
    client = (
        connect(server.url, timeout=timeout, connect_timeout=timeout)
        if timeout
        else redis.Redis.from_url(server.url, socket_timeout=None)
    )
    reports = TaskReports(through=Bridge(client), publish_seconds=SECONDS)
    reports.queued(task("before"))
    with frozen(server):
        started = time.monotonic()
        attempts = [reports.queued(task(f"lost{number}")) for number in range(NUMBER)]
        took = time.monotonic() - started
    assert took < NUMBER * SECONDS
    assert attempts == [1] * NUMBER
    assert reports.lost == NUMBER
    assert len(losses(caplog)) == 1

    def publishes() -> bool:
        reports.queued(task("after"))
        return "after" in reported(client_of_server)

    eventually(publishes)
    assert any("reports were lost" in text for text in caplog.messages)
    reports.started(task("lost3"))
    assert {"before", "after", "lost3"} <= reported(client_of_server)
    client.close()


def test_asyncio_client__redis_is_frozen(
    server: EmbeddedRedis, client_of_server: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody waits for long, and what is reported is appended once Redis answers again."""

    async def publish() -> float:
        reporter = AsyncReporter.from_url(server.url)
        reports = AsyncTaskReports(through=reporter, publish_seconds=SECONDS)
        await reports.queued(await reports.sent(task("before")))
        with frozen(server):
            started = time.monotonic()
            for number in range(NUMBER):
                await reports.queued(await reports.sent(task(f"late{number}")))
            took = time.monotonic() - started
        await reports.aclose()
        assert reports.lost == 0
        return took

    assert asyncio.run(publish()) < NUMBER * SECONDS
    assert {"before", *(f"late{number}" for number in range(NUMBER))} == reported(client_of_server)
    assert losses(caplog) == []


def test_asyncio_client__redis_is_away_for_good(
    server: EmbeddedRedis, caplog: pytest.LogCaptureFixture
) -> None:
    async def publish() -> int:
        reporter = AsyncReporter.from_url(server.url, end_retry_seconds=0.2)
        reports = AsyncTaskReports(through=reporter, publish_seconds=SECONDS)
        server.kill()
        for number in range(NUMBER):
            await reports.queued(task(f"lost{number}"))
        await reports.aclose()
        return reports.lost

    assert asyncio.run(publish()) == NUMBER
    assert len(losses(caplog)) == 1


def test_mistake_in_a_report__is_no_outage(
    client_of_server: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    reports = TaskReports(through=Bridge(client_of_server))
    with caplog.at_level(logging.WARNING):
        reports.queued(Task("not an id", "grade", kwargs={"tenant_id": 42}))
        reports.queued(task("a"))
    assert reported(client_of_server) == {"a"}
    assert len(losses(caplog)) == 1
    assert reports.lost == 0


def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the system refuse every new thread, as at the limit of processes."""

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    for name in ("_start_joinable_thread", "_start_new_thread"):
        if hasattr(threading, name):
            monkeypatch.setattr(threading, name, refuse)


def test_no_thread_can_be_started__is_a_lost_report(
    client_of_server: redis.Redis, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports = TaskReports(through=Bridge(client_of_server))
    with monkeypatch.context() as patch:
        no_threads(patch)
        assert reports.queued(task("lost")) == 1
        with Reporter(EventAppender(client_of_server)).job("job", tenant="42") as job:
            for number in range(3):
                job.progress("s", number)
    assert (reports.lost, len(losses(caplog))) == (1, 1)
    reports.queued(task("after"))
    assert reported(client_of_server) == {"after", "job"}


def test_no_thread_for_an_asyncio_reporter__its_loop_starts_it_later(
    client_of_server: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No report raises, and none waits for another."""

    async def work() -> None:
        async with AsyncReporter(EventAppender(client_of_server)) as reporter:
            with monkeypatch.context() as patch:
                no_threads(patch)
                next_one = reporter.job("job", tenant="42", attempt="next")
                beginning = asyncio.create_task(next_one.begin())
                job = reporter.job("job", tenant="42")
                for percent in range(3):
                    await job.progress("s", percent)
                ending = asyncio.create_task(job.done())
                await asyncio.wait({beginning, ending}, timeout=0.05)
                closing = asyncio.create_task(reporter.aclose())
                await asyncio.wait({closing}, timeout=0.05)
            await asyncio.gather(beginning, ending, closing)

    asyncio.run(work())
    entries: Any = client_of_server.xrange("tenant:42:events")
    types = [json.loads(fields[b"event"])["type"] for _, fields in entries]
    assert {"progress", "done", "processing"} == set(types)


def test_no_thread_at_the_exit__reports_are_sent_without(
    client_of_server: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_threads(monkeypatch)
    reporter = AsyncReporter(EventAppender(client_of_server))

    async def work() -> None:
        job = reporter.job("job", tenant="42")
        await job.progress("s", 1)
        await job.progress("s", 2)
        with suppress(TimeoutError):
            await asyncio.wait_for(job.done(), 0.01)

    asyncio.run(work())
    started = time.monotonic()
    reporter.outbox.finish()
    assert time.monotonic() - started < reporter.delivery.end_retry_seconds
    assert reported(client_of_server) == {"job"}


def test_rq_enqueues_a_job_whose_report_fails(
    client_of_server: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> int:
        raise RuntimeError

    monkeypatch.setattr(TaskReports, "queued", fail)
    stop = report_tasks(through=Bridge(client_of_server))
    try:
        to = rq.Queue(connection=client_of_server)
        job = to.enqueue("math.sqrt", kwargs={"tenant_id": 7})
        assert to.job_ids == [job.id]
    finally:
        stop()


def test_time_limit_of_an_rq_job__ends_it_in_the_middle_of_a_report(
    server: EmbeddedRedis, redis_client: redis.Redis
) -> None:
    """RQ's alarm rings once, in the job that publishes or cancels another."""
    patient = redis.Redis.from_url(server.url, socket_timeout=None)
    stop = report_tasks(through=Bridge(patient), publish_seconds=30)
    to = rq.Queue(connection=redis_client)
    try:
        job = to.enqueue("math.sqrt", kwargs={"tenant_id": 42})
        with frozen(server):
            for work in (lambda: to.enqueue("math.sqrt", kwargs={"tenant_id": 42}), job.cancel):
                limit = _LIMIT(1, JobTimeoutException)
                with pytest.raises(JobTimeoutException), limit:
                    work()
    finally:
        stop()
        patient.close()


def test_refusal_of_one_tenant__neither_waits_nor_stops_others(
    server: EmbeddedRedis, client_of_server: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """The stream of tenant 7 is no stream; its tasks are published all the same."""
    client_of_server.set("tenant:7:events", "x")
    refused = [Task(f"r{number}", "grade", kwargs={"tenant_id": 7}) for number in range(NUMBER)]
    reports = TaskReports(through=Bridge(client_of_server), publish_seconds=30)
    started = time.monotonic()
    for each in refused:
        reports.queued(each)
        assert not reports._publishing.losses.is_away
        reports.queued(task(f"blocking-{each.id}"))
    assert time.monotonic() - started < 30
    assert reports.lost == NUMBER

    async def publish() -> int:
        reporter = AsyncReporter.from_url(server.url, end_retry_seconds=1)
        reports = AsyncTaskReports(through=reporter, publish_seconds=1)
        for each in refused:
            await reports.queued(each)
            assert not reports._losses.is_away
            await reports.queued(task(f"asyncio-{each.id}"))
        await reports.aclose()
        return reports.lost

    assert asyncio.run(publish()) == NUMBER
    assert reported(client_of_server) == {
        f"{client}-{each.id}" for client in ("blocking", "asyncio") for each in refused
    }
    assert "WRONGTYPE" in losses(caplog)[0]
    assert len(losses(caplog)) == 2


def test_report_that_was_too_late__is_not_appended_afterwards(
    server: EmbeddedRedis, client_of_server: redis.Redis
) -> None:
    """The task has its number without it; the report neither opens a job again nor counts twice."""
    client_of_server.set("tenant:42:job:a:status", '{"status": "DONE", "attempt": 1}')
    patient = redis.Redis.from_url(server.url, socket_timeout=None)
    reports = TaskReports(through=Bridge(patient), publish_seconds=SECONDS)
    with frozen(server):
        assert reports.queued(task("a"), again=True) == 1
        late = list(reports._publishing._late)
    assert len(late) == 1
    late[0].join()
    assert reported(client_of_server) == set()
    assert reports.lost == 1
    patient.close()


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_time_that_is_no_time__is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="publish_seconds must be above 0"):
        Publishing(seconds)
    with pytest.raises(ValueError, match="publish_seconds must be above 0"):
        AsyncTaskReports(publish_seconds=seconds)


@pytest.mark.parametrize("fault", ["away", "refuses"])
def test_report_that_is_lost__is_counted_and_not_spooled(
    server: EmbeddedRedis,
    client_of_server: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    fault: str,
) -> None:
    """A spool is for ends: it must not grow by a file for each task while Redis is away."""
    monkeypatch.setenv("JOBTRAIL_REDIS_URL", server.url)
    client_of_server.set("tenant:42:events", "no stream")
    if fault == "away":
        server.kill()
    reports = TaskReports(spool=tmp_path, publish_seconds=30)
    reports.queued(task("first"))
    started = time.monotonic()
    for number in range(NUMBER):
        reports.queued(task(f"lost{number}"))
    assert time.monotonic() - started < 30
    assert reports._publishing.losses.is_away is (fault == "away")
    assert reports.lost == 1 + NUMBER

    async def publish() -> int:
        reporter = AsyncReporter.from_url(server.url, spool=tmp_path, end_retry_seconds=0.2)
        reports = AsyncTaskReports(through=reporter, publish_seconds=SECONDS)
        for number in range(NUMBER):
            await reports.queued(task(f"lost{number}"))
        await reports.aclose()
        return reports.lost

    assert asyncio.run(publish()) == NUMBER
    assert list(tmp_path.iterdir()) == []


def test_report_beside_an_end_that_is_not_durable__was_appended(
    own_redis: RedisFactory, tmp_path: Path
) -> None:
    """Both are sent in one round trip, and only the end is tried again."""
    server = own_redis()
    with connect(server.url) as client:
        client.config_set("appendfsync", "no")

        async def publish() -> int:
            appender = EventAppender(client, durable_seconds=0.1)
            reporter = AsyncReporter(appender, spool=tmp_path, end_retry_seconds=0.2)
            reports = AsyncTaskReports(through=reporter, publish_seconds=30)
            job = reporter.job("ended", tenant="42")
            await asyncio.gather(reports.queued(task("a")), job.done())
            await reports.aclose()
            return reports.lost

        assert asyncio.run(publish()) == 0
        entries: Any = client.xrange("tenant:42:events")
        appended = [json.loads(fields[b"event"])["id"] for _, fields in entries]
        assert appended.count("a") == 1
        assert len(list(tmp_path.glob("*.event"))) == 1

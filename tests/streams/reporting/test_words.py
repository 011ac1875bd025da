"""Steps, tracked loops, decorated functions, the next attempt, and reporters from variables."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import redis

import streams
from ops.devstack import EmbeddedRedis
from streams.appender import EventAppender
from streams.async_reporter import AsyncReporter
from streams.events import InvalidEvent
from streams.job_report import JobReport
from streams.reporter import Reporter
from streams.runtime.environment import SettingsError
from streams.tracking import current_job, track
from tests.support.servers import RedisFactory


def events(client: redis.Redis, tenant: str = "42") -> list[dict[str, Any]]:
    entries: Any = client.xrange(f"tenant:{tenant}:events")
    return [json.loads(fields[b"event"]) for _, fields in entries]


def progress(client: redis.Redis, *names: str) -> list[tuple[Any, ...]]:
    found = [event for event in events(client) if event["type"] == "progress"]
    return [tuple(event.get(name) for name in names) for event in found]


@pytest.fixture
def reporter(redis_client: redis.Redis) -> Reporter:
    """A reporter that sends each progress at once."""
    return Reporter(EventAppender(redis_client), progress_per_second=1e9)


def asynchronous(client: redis.Redis) -> AsyncReporter:
    return AsyncReporter(EventAppender(client), progress_per_second=1e9)


STEP = ("step", "step_index", "step_total", "step_percent", "percent")
STEPS = [
    ("probe", 1, 4, 0, 0),
    ("probe", 1, 4, 100, 25),
    ("encode", 2, 4, 0, 25),
    ("encode", 2, 4, 50, 37.5),
    ("encode", 2, 4, 100, 50),
    ("publish", 4, 4, 0, 75),
    ("publish", 4, 4, 100, 100),
]


def test_step__reports_its_number_and_the_share_of_the_job(
    reporter: Reporter, redis_client: redis.Redis
) -> None:
    with reporter.job("a1", tenant=42) as job:
        with job.step("probe", index=1, total=4):
            pass
        with job.step("encode", display="Encoding") as step:  # the one after the last
            step.progress(50, remaining_seconds=3, extra={"fps": 25})
        with job.step("publish", index=4):
            pass
    assert progress(redis_client, *STEP) == STEPS
    named = progress(redis_client, "step_name_display", "remaining_seconds", "extra")
    assert named[3] == ("Encoding", 3, {"fps": 25})


def test_step__in_a_coroutine(redis_client: redis.Redis) -> None:
    async def work() -> None:
        async with asynchronous(redis_client) as reporter, reporter.job("a1", tenant=42) as job:
            async with job.step("probe", index=1, total=4):
                pass
            async with job.step("encode") as step:
                await step.progress(50)
            async with job.step("publish", index=4):
                pass

    asyncio.run(work())
    assert progress(redis_client, *STEP) == STEPS


def test_step__never_moves_the_job_backwards_or_beyond_itself(
    reporter: Reporter, redis_client: redis.Redis
) -> None:
    """Without a percent, or with one that is not valid, the step remains where it was."""
    given: list[Any] = [50, None, 500, -3, Decimal("12.5"), float("nan"), "half", None]
    with (
        reporter.job("a1", tenant=42) as job,
        job.step("probe", index=1, total=4),
        job.step("encode") as step,
    ):
        for percent in given:
            step.progress(percent, remaining_seconds=10)
    found = progress(redis_client, "step", "step_percent", "percent")
    assert [each[1:] for each in found if each[0] == "encode"] == [
        (0, 25),
        (50, 37.5),
        (50, 37.5),
        (500, 50),  # projections limit the step's own percent to 100
        (-3, 25),
        (12.5, 28.1),
        (None, 28.1),
        (None, 28.1),
        (12.5, 28.1),
        (100, 50),
    ]


@pytest.mark.parametrize(("index", "total"), [("2", "4"), (2.0, Decimal(4))])
def test_step__numbers_of_other_types(
    reporter: Reporter, redis_client: redis.Redis, index: Any, total: Any
) -> None:
    with reporter.job("a1", tenant=42) as job:
        with job.step("encode", index=index, total=total):
            pass
        with job.step("publish"):
            pass
    assert progress(redis_client, *STEP)[1::2] == [
        ("encode", 2, 4, 100, 50),
        ("publish", 3, 4, 100, 75),
    ]


def test_step__that_fails__does_not_reach_its_end(
    reporter: Reporter, redis_client: redis.Redis
) -> None:
    with pytest.raises(KeyError), reporter.job("a1", tenant=42) as job, job.step("x"):
        raise KeyError
    assert progress(redis_client, *STEP) == [("x", 1, None, 0, None)]


def test_track__reports_the_share_of_a_loop(reporter: Reporter, redis_client: redis.Redis) -> None:
    with reporter.job("a1", tenant=42) as job:
        assert list(track([10, 20], step="rows")) == [10, 20]
        assert list(track(iter("ab"), total=4)) == ["a", "b"]
        assert list(track(iter("a"))) == ["a"]
        assert list(track([])) == []
        with job.step("s", total=2) as step:
            assert list(track("xy", job=step)) == ["x", "y"]
    found = progress(redis_client, "step", "percent", "step_percent", "extra")
    assert found[:3] == [
        ("rows", 0, None, None),
        ("rows", 50, None, None),
        ("rows", 100, None, None),
    ]
    assert [each[1] for each in found[3:6]] == [0, 25, 50]
    assert [each[3] for each in found[6:8]] == [{"items": 0}, {"items": 1}]
    assert [each[1:3] for each in found[-4:-1]] == [(0, 0), (25, 50), (50, 100)]


def test_track__outside_of_a_job__only_iterates() -> None:
    assert current_job() is None
    assert list(track(range(3))) == [0, 1, 2]


def test_track__in_coroutines(redis_client: redis.Redis) -> None:
    async def rows() -> AsyncIterator[int]:
        for number in range(2):
            yield number

    async def work() -> None:
        async with asynchronous(redis_client) as reporter, reporter.job("a1", tenant=42):
            assert [row async for row in track(rows(), total=2)] == [0, 1]
            assert list(track([1, 2, 3, 4])) == [1, 2, 3, 4]

    asyncio.run(work())
    percents = [percent for (percent,) in progress(redis_client, "percent")]
    assert percents == [0, 50, 100, 0, 25, 50, 75, 100]


def test_task__function(reporter: Reporter, redis_client: redis.Redis) -> None:
    @reporter.task(tenant=lambda school, **_: school, id=lambda *_, number: number, labels={"a": 1})
    def import_rows(school: int, *, number: int) -> list[int]:
        """Import."""
        job = current_job(JobReport)
        assert job is not None
        job.progress(50)
        return [school, number]

    @reporter.task(tenant=42, job_type="divide", kind="video")
    def divide(by: int) -> float:
        return 1 / by

    assert import_rows(42, number=7) == [42, 7]
    assert import_rows.__doc__ == "Import."
    with pytest.raises(ZeroDivisionError):
        divide(0)
    started, _, done, second, failed = events(redis_client)
    assert (started["id"], started["job_type"], started["labels"]) == (
        "7",
        "import_rows",
        {"a": "1"},
    )
    assert done["result"] == {"value": [42, 7]}
    assert (failed["job_type"], failed["kind"], failed["code"]) == (
        "divide",
        "video",
        "ZeroDivisionError",
    )
    assert second["id"] == failed["id"] != "7"


def test_task__coroutine_of_either_reporter(redis_client: redis.Redis) -> None:
    async def work() -> None:
        async with asynchronous(redis_client) as of_loop:
            blocking = Reporter(EventAppender(redis_client))
            for reporter in (blocking, of_loop):

                @reporter.task(tenant=42, id=str)
                async def double(number: int) -> dict[str, int]:
                    job = current_job()
                    assert isinstance(job, streams.AsyncJobReport)
                    await job.progress(50)
                    await asyncio.sleep(0)
                    return {"twice": 2 * number}

                assert await double(3) == {"twice": 6}
            blocking.close()

    asyncio.run(work())
    assert [event["type"] for event in events(redis_client)] == [
        "processing",
        "progress",
        "done",
    ] * 2
    assert events(redis_client)[-1]["result"] == {"twice": 6}
    assert {event["id"] for event in events(redis_client)} == {"3"}


def test_task__function_of_the_asyncio_reporter(redis_client: redis.Redis) -> None:
    reporter = asynchronous(redis_client)

    @reporter.task(tenant=42)
    def one() -> None:
        current_job(JobReport).done({"own": 1})  # type: ignore[union-attr]  # there is one

    one()
    assert events(redis_client)[-1]["result"] == {"own": 1}


def test_task__argument_that_fails__is_a_warning(
    reporter: Reporter, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    @reporter.task(tenant=lambda row: row["tenant"])
    def work(row: dict[str, str]) -> int:
        return len(row)

    assert work({}) == 0
    assert "the call is not reported: KeyError: 'tenant'" in caplog.text
    assert f"{__file__}:" in caplog.text
    assert events(redis_client) == []


def test_task__generator__is_refused(reporter: Reporter) -> None:
    with pytest.raises(TypeError, match="is a generator"):

        @reporter.task(tenant=42)
        def rows() -> Any:
            yield 1


def attempts(client: redis.Redis) -> list[int]:
    return [event["attempt"] for event in events(client) if event["type"] == "done"]


def test_next_attempt__follows_the_last_one_that_is_known(redis_client: redis.Redis) -> None:
    """Known to this reporter, from the stream, or from the status document."""
    for number in (1, 2):
        reporter = Reporter(EventAppender(redis_client))
        for _ in range(2):
            with reporter.job("a1", tenant=42, attempt="next") as job:
                pass
        assert job.attempt == 2 * number
    assert attempts(redis_client) == [1, 2, 3, 4]
    redis_client.delete("tenant:42:events")
    redis_client.set("tenant:42:job:a1:status", '{"status":"DONE","attempt":6}')

    async def work() -> None:
        of_loop = asynchronous(redis_client)
        async with of_loop, of_loop.job("a1", tenant=42, attempt="next"):
            pass

    asyncio.run(work())
    assert attempts(redis_client) == [7]


def test_next_attempt__of_a_queued_job__is_the_queued_one(redis_client: redis.Redis) -> None:
    Reporter(EventAppender(redis_client)).queued("a1", tenant=42, attempt="next")
    reporter = Reporter(EventAppender(redis_client))
    for _ in range(2):
        with reporter.job("a1", tenant=42, attempt="next"):
            pass
    reporter.queued("a1", tenant=42, attempt="next")
    assert [(event["type"], event["attempt"]) for event in events(redis_client)] == [
        ("queued", 1),
        ("processing", 1),
        ("done", 1),
        ("processing", 2),
        ("done", 2),
        ("queued", 3),
    ]


def test_next_attempt__of_another_kind_or_id__does_not_count(redis_client: redis.Redis) -> None:
    reporter = Reporter(EventAppender(redis_client))
    for name, kind in (("a11", "job"), ("a1", "video")):
        with reporter.job(name, kind=kind, tenant=42, attempt=8):
            pass
    redis_client.xadd("tenant:42:events", {"event": b'["a1"]'})
    redis_client.xadd("tenant:42:events", {"event": b"a1"})
    with Reporter(EventAppender(redis_client)).job("a1", tenant=42, attempt="next") as job:
        assert job.attempt == 1


def test_next_attempt__user_may_not_read__is_a_warning(
    own_redis: RedisFactory, caplog: pytest.LogCaptureFixture
) -> None:
    server = own_redis(persist=False)
    with redis.Redis.from_url(server.url, protocol=2) as admin:
        admin.execute_command("ACL", "SETUSER", "w", "on", ">w", "~*", "+@all", "-get")
        _, _, rest = server.url.partition("@")
        reporter = Reporter.from_url(f"redis://w:w@{rest}")
        with reporter, reporter.job("a1", tenant=42, attempt="next"):
            pass
        assert attempts(admin) == [1]
    assert "the attempts of job a1 cannot be read from Redis" in caplog.text


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without variables of the project."""
    for name in [name for name in os.environ if name.startswith("JOBTRAIL_")]:
        monkeypatch.delenv(name)
    return monkeypatch


def test_from_env__reads_the_variables(
    unset: pytest.MonkeyPatch, redis_url: str, redis_client: redis.Redis, tmp_path: Path
) -> None:
    unset.setenv("JOBTRAIL_REDIS_URL", redis_url)
    unset.setenv("JOBTRAIL_MAX_EVENT_BYTES", "500")
    unset.setenv("JOBTRAIL_API_PORT", "of another process")
    with (
        pytest.raises(InvalidEvent),
        Reporter.from_env(strict=True, spool=tmp_path) as reporter,
        reporter.job("a1", tenant=42) as job,
    ):
        job.done("x" * 500)

    async def work() -> None:
        async with AsyncReporter.from_env(worker="w1") as of_loop, of_loop.job("a2", tenant=42):
            pass

    asyncio.run(work())
    assert [event["type"] for event in events(redis_client)] == [
        "processing",
        "failed",
        "processing",
        "done",
    ]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (
            "REDIS_URL",
            "",
            "JOBTRAIL_REDIS_URL is not set: give it, e.g. redis://127.0.0.1:6379/0, or take that of"
            ' the running jobtrail up: eval "$(jobtrail env)"',
        ),
        ("REDIS_URL", "http://x", "JOBTRAIL_REDIS_URL: its scheme is not known"),
        ("MAX_EVENT_BYTES", "many", "JOBTRAIL_MAX_EVENT_BYTES: 'many' is not valid"),
        ("STREAM_MAX_BYTES", "0", "JOBTRAIL_STREAM_MAX_BYTES: '0' is not valid"),
        ("DURABLE_REPLICAS", "-1", "JOBTRAIL_DURABLE_REPLICAS: '-1' is not valid"),
    ],
)
@pytest.mark.parametrize("form", [Reporter, AsyncReporter])
def test_from_env__wrong_value__is_one_line(
    unset: pytest.MonkeyPatch,
    form: type[Reporter | AsyncReporter],
    name: str,
    value: str,
    said: str,
) -> None:
    unset.setenv("JOBTRAIL_REDIS_URL", "redis://127.0.0.1:1/0")
    unset.setenv(f"JOBTRAIL_{name}", value)
    with pytest.raises(SettingsError) as raised:
        form.from_env()
    assert str(raised.value).startswith(said)
    assert "\n" not in str(raised.value)


def test_options__are_named_and_checked() -> None:
    with pytest.raises(TypeError):
        Reporter.from_url("redis://127.0.0.1:1/0", progress_per_secnd=1)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="progress_per_second must be above 0"):
        Reporter.from_url("redis://127.0.0.1:1/0", progress_per_second=0)


def test_worker__is_named_anew_in_a_forked_process(redis_server: EmbeddedRedis) -> None:
    reporter = Reporter.from_url(redis_server.url)
    assert reporter.worker.endswith(f":{os.getpid()}")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, reporter.worker.encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 300).decode().endswith(f":{child}")
    os.close(reading)
    os.close(writing)

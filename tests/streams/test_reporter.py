from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest
import redis

from ops.devstack import EmbeddedRedis
from streams.appender import EventAppender
from streams.connection import LogUnavailable, connect
from streams.events import InvalidEvent
from streams.keys import InvalidTenant
from streams.reporter import Reporter
from streams.spool import Spool, UnsafeSpool
from tests.support.exceptions import LongName, Unprintable
from tests.support.servers import RedisFactory
from tests.support.waiting import eventually

NEVER = 0.001
"""Progress a second that is less than any test takes."""


@pytest.fixture
def reporter(redis_client: redis.Redis) -> Reporter:
    """A reporter on an empty Redis."""
    return Reporter(EventAppender(redis_client), worker="w1")


def unhurried(client: redis.Redis, **options: Any) -> Reporter:
    """Return a reporter that sends no second progress event during the test."""
    return Reporter(EventAppender(client), progress_per_second=NEVER, **options)


@pytest.fixture
def server(own_redis: RedisFactory) -> EmbeddedRedis:
    """A Redis that the test stops, and that keeps nothing."""
    return own_redis(persist=False)


@pytest.fixture
def client_of_server(server: EmbeddedRedis) -> Iterator[redis.Redis]:
    """A client with a worker's timeouts, for the Redis that the test stops."""
    with connect(server.url, timeout=1.0, connect_timeout=1.0) as client:
        yield client


def events(client: redis.Redis, tenant: str = "42") -> list[dict[str, Any]]:
    entries = cast(
        "list[tuple[bytes, dict[bytes, bytes]]]", client.xrange(f"tenant:{tenant}:events")
    )
    return [json.loads(fields[b"event"]) for _, fields in entries]


def types(client: redis.Redis) -> list[str]:
    return [event["type"] for event in events(client)]


def percents(client: redis.Redis) -> list[float]:
    return [event["percent"] for event in events(client) if event["type"] == "progress"]


def test_job__well_done__is_processing_then_done(
    reporter: Reporter, redis_client: redis.Redis
) -> None:
    with reporter.job(
        "a1", tenant="42", job_type="excel", labels={"class": "3B"}, attempt=2
    ) as job:
        job.done({"rows": 5_000})
    started, done = events(redis_client)
    assert (started["type"], done["type"], done["result"]) == (
        "processing",
        "done",
        {"rows": 5_000},
    )
    for event in (started, done):
        assert (event["id"], event["kind"], event["attempt"]) == ("a1", "job", 2)
        assert (event["job_type"], event["labels"], event["worker"]) == (
            "excel",
            {"class": "3B"},
            "w1",
        )
    assert started["event_id"] != done["event_id"]
    assert started["at"] <= done["at"]


def test_job__block_that_says_nothing__is_done(
    reporter: Reporter, redis_client: redis.Redis
) -> None:
    with reporter.job("a1", tenant="42", kind="video"):
        pass
    done = events(redis_client)[-1]
    assert (done["type"], done["kind"], done["result"]) == ("done", "video", {})


def test_job__exception__is_failed_and_propagates(
    reporter: Reporter, redis_client: redis.Redis
) -> None:
    with pytest.raises(ZeroDivisionError), reporter.job("a1", tenant="42"):
        _ = 1 / 0
    failed = events(redis_client)[-1]
    assert (failed["type"], failed["error"], failed["code"]) == (
        "failed",
        "division by zero",
        "ZeroDivisionError",
    )


def test_job__exception_without_words__says_its_name(
    reporter: Reporter, redis_client: redis.Redis
) -> None:
    with pytest.raises(KeyError), reporter.job("a1", tenant="42"):
        raise KeyError
    assert events(redis_client)[-1]["error"] == "KeyError"


@pytest.mark.parametrize(
    "interruption", [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError]
)
def test_job__interruption__is_cancelled_and_propagates(
    reporter: Reporter, redis_client: redis.Redis, interruption: type[BaseException]
) -> None:
    with pytest.raises(interruption), reporter.job("a1", tenant="42"):
        raise interruption
    cancelled = events(redis_client)[-1]
    assert cancelled["type"] == "cancelled"
    assert interruption.__name__ in cancelled["reason"]


@pytest.mark.parametrize(
    "text",
    ["\udcff.xlsx", "x" * 2_000_000, "한" * 1_000_000, "a\0b"],
    ids=["surrogate", "2 MB", "3 MB", "NUL"],
)
def test_job__exception_with_awkward_words__is_failed_and_propagates(
    reporter: Reporter, redis_client: redis.Redis, text: str
) -> None:
    """A text that is not UTF-8, such as a file name, must not hide the worker's own error."""
    with pytest.raises(OSError) as raised, reporter.job("a1", tenant="42"):  # noqa: PT011 - its text
        raise OSError(text)
    assert str(raised.value) == text
    failed = events(redis_client)[-1]
    assert (failed["type"], failed["code"]) == ("failed", "OSError")
    assert 0 < len(failed["error"]) <= 2_000
    with reporter.job("a2", tenant="42") as job:
        job.cancelled(text)
    assert events(redis_client)[-1]["type"] == "cancelled"


@pytest.mark.parametrize("kind", [Unprintable, LongName])
def test_job__exception_that_cannot_be_described__is_failed_and_propagates(
    reporter: Reporter, redis_client: redis.Redis, kind: type[Exception]
) -> None:
    thrown = kind()
    with pytest.raises(kind) as raised, reporter.job("a1", tenant="42"):
        raise thrown
    assert raised.value is thrown
    failed = events(redis_client)[-1]
    assert failed["type"] == "failed"
    assert failed["error"]
    assert len(failed["code"]) <= 200


def test_job__exception_and_an_unusable_spool__propagates_all_the_same(
    own_redis: RedisFactory, tmp_path: Path
) -> None:
    server = own_redis(persist=False)
    with connect(server.url, timeout=1.0, connect_timeout=1.0) as client:
        spool = tmp_path / "spool"
        reporter = Reporter(EventAppender(client), end_retry_seconds=0, spool=spool)
        report = reporter.job("a1", tenant="42")
        with pytest.raises(LookupError), report:
            _lose(server, spool)


def _lose(server: EmbeddedRedis, spool: Path) -> None:
    server.stop()
    spool.rmdir()
    raise LookupError


def test_job__failed_or_cancelled_by_word__nothing_follows(
    reporter: Reporter, redis_client: redis.Redis
) -> None:
    with reporter.job("a1", tenant="42") as job:
        job.failed("no such file", code="missing")
    with reporter.job("a2", tenant="42") as job:
        job.cancelled()
    assert types(redis_client) == ["processing", "failed", "processing", "cancelled"]
    assert "reason" not in events(redis_client)[-1]


def test_job__exception_after_its_end__changes_nothing(
    reporter: Reporter, redis_client: redis.Redis
) -> None:
    def work() -> None:
        with reporter.job("a1", tenant="42") as job:
            job.done()
            raise ValueError("late")

    with pytest.raises(ValueError, match="late"):
        work()
    assert types(redis_client) == ["processing", "done"]


def test_job__anything_after_its_end__is_ignored_with_a_warning(
    reporter: Reporter, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    with reporter.job("a1", tenant="42") as job:
        job.done()
        job.progress(percent=5)
        job.failed("e")
    assert types(redis_client) == ["processing", "done"]
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"tenant": "a b"}, InvalidTenant),
        ({"tenant": "42", "kind": "jobs"}, InvalidEvent),
        ({"tenant": "42", "attempt": 0}, InvalidEvent),
        ({"tenant": "42", "labels": {"": ""}}, InvalidEvent),
    ],
)
def test_job__words_not_of_their_form__refused_before_anything_is_sent(
    redis_client: redis.Redis, options: Any, error: type[Exception]
) -> None:
    reporter = Reporter(EventAppender(redis_client), strict=True)
    with pytest.raises(error):
        reporter.job("a1", **options)
    assert redis_client.dbsize() == 0


def test_progress__value_not_of_its_form__refused(redis_client: redis.Redis) -> None:
    reporter = Reporter(EventAppender(redis_client), strict=True)
    with pytest.raises(InvalidEvent, match="extra"), reporter.job("a1", tenant="42") as job:
        job.progress(extra={"x": "y" * 9_000})
    assert types(redis_client) == ["processing", "failed"]


def test_progress__ten_thousand_calls__a_handful_of_entries(
    reporter: Reporter, redis_client: redis.Redis
) -> None:
    """The first is sent at once, then four in a second, and the last one before the end."""
    started = time.monotonic()
    with reporter.job("a1", tenant="42") as job:
        for number in range(10_000):
            job.progress("parsing", percent=number / 100)
            if number == 0:
                assert percents(redis_client) == [0]
    told = percents(redis_client)
    assert told[-1] == 99.99
    assert told == sorted(told)
    assert 2 <= len(told) <= 3 + (time.monotonic() - started) * 4
    assert types(redis_client)[-1] == "done"


class HeldTimer:
    """A timer that runs when the test calls it."""

    made: ClassVar[list[HeldTimer]] = []

    def __init__(self, seconds: float, work: Callable[[], None]) -> None:
        self.seconds = seconds
        self.run = work
        self.made.append(self)

    def start(self) -> None: ...

    def cancel(self) -> None: ...


def test_progress__timer_is_late__no_more_than_the_rate_all_the_same(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(HeldTimer, "made", [])
    monkeypatch.setattr("streams.job_report.threading.Timer", HeldTimer)
    reporter = Reporter(EventAppender(redis_client), progress_per_second=4, clock=lambda: now[0])
    with reporter.job("a1", tenant="42") as job:
        job.progress(percent=1)
        job.progress(percent=2)
        now[0] = 0.3
        job.progress(percent=3)  # sent at once: the timer should have run long ago
        job.progress(percent=4)
        (late,) = HeldTimer.made
        late.run()
        assert percents(redis_client) == [1, 3]
        again = HeldTimer.made[-1]
        assert again.seconds == pytest.approx(0.25)
        now[0] = 0.55
        again.run()
        assert percents(redis_client) == [1, 3, 4]


def test_progress__worker_goes_silent__last_value_is_told_all_the_same(
    redis_client: redis.Redis,
) -> None:
    reporter = Reporter(EventAppender(redis_client), progress_per_second=20)
    with reporter.job("a1", tenant="42") as job:
        for percent in range(50):
            job.progress(percent=percent)
        eventually(lambda: percents(redis_client)[-1] == 49, what="the last value")
        job.progress(percent=60)
        eventually(lambda: percents(redis_client)[-1] == 60, what="the value after the silence")


def test_end__is_never_delayed_and_brings_the_last_progress_before_it(
    redis_client: redis.Redis,
) -> None:
    with unhurried(redis_client).job("a1", tenant="42") as job:
        for percent in (1, 2, 3):
            job.progress(percent=percent)
        job.done()
        assert types(redis_client) == ["processing", "progress", "progress", "done"]
    assert percents(redis_client) == [1, 3]


def test_end__by_exception__brings_the_last_progress_before_it(redis_client: redis.Redis) -> None:
    def work() -> None:
        with unhurried(redis_client).job("a1", tenant="42") as job:
            job.progress(percent=1)
            job.progress(percent=2)
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        work()
    assert types(redis_client) == ["processing", "progress", "progress", "failed"]


def test_end__leaves_no_timer_behind(redis_client: redis.Redis) -> None:
    before = threading.active_count()
    with unhurried(redis_client).job("a1", tenant="42") as job:
        job.progress(percent=1)
        job.progress(percent=2)
        assert threading.active_count() == before + 1
    eventually(lambda: threading.active_count() == before, what="the end of the timer")


def test_progress__from_many_threads__ends_well(redis_client: redis.Redis) -> None:
    reporter = Reporter(EventAppender(redis_client), progress_per_second=500)
    with reporter.job("a1", tenant="42") as job, ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(job.progress, percent=number) for number in range(1_000)]:
            future.result()
    assert types(redis_client)[0] == "processing"
    assert types(redis_client)[-1] == "done"
    assert types(redis_client).count("done") == 1


def test_queued__waits_for_a_worker(reporter: Reporter, redis_client: redis.Redis) -> None:
    reporter.queued("a1", tenant="42", job_type="excel")
    (event,) = events(redis_client)
    assert (event["type"], event["job_type"]) == ("queued", "excel")


def test_done__result_too_large__is_refused_and_the_block_fails(redis_client: redis.Redis) -> None:
    reporter = Reporter(EventAppender(redis_client), strict=True)

    def work() -> None:
        with reporter.job("a1", tenant="42") as job:
            job.progress(percent=99)
            job.done({"rows": "x" * 2_000_000})

    with pytest.raises(InvalidEvent, match="too_large"):
        work()
    failed = events(redis_client)[-1]
    assert (failed["type"], failed["code"]) == ("failed", "InvalidEvent")


def test_done__whole_number_beyond_64_bits__is_said_as_it_is(
    reporter: Reporter, redis_client: redis.Redis
) -> None:
    with reporter.job("a1", tenant="42") as job:
        job.done({"rows": 10**40})
    assert events(redis_client)[-1]["result"] == {"rows": 10**40}


def test_done__larger_than_the_appenders_own_limit__another_end_may_be_said(
    redis_client: redis.Redis,
) -> None:
    reporter = Reporter(EventAppender(redis_client, max_event_bytes=500), strict=True)
    with reporter.job("a1", tenant="42") as job:
        with pytest.raises(InvalidEvent):
            job.done({"rows": "x" * 500})
        job.done({"rows": "see the file"})
    assert types(redis_client) == ["processing", "done"]


def test_progress__redis_away__dropped_with_one_warning_while_work_goes_on(
    server: EmbeddedRedis, client_of_server: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    reporter = Reporter(
        EventAppender(client_of_server),
        progress_per_second=1e6,
        silence_seconds=600,
    )
    job = reporter.job("a1", tenant="42")
    server.kill()
    started = time.monotonic()
    for number in range(5_000):
        job.progress(percent=number / 50)
    assert time.monotonic() - started < 5
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "progress of job a1 dropped" in caplog.text


def test_progress__redis_hangs__work_waits_for_one_timeout_only(
    server: EmbeddedRedis,
) -> None:
    reporter = Reporter.from_url(server.url, progress_per_second=1e6, silence_seconds=600)
    with reporter.job("a1", tenant="42") as job:
        os.kill(server.pid, signal.SIGSTOP)
        try:
            started = time.monotonic()
            for number in range(1_000):
                job.progress(percent=number / 10)
            assert time.monotonic() - started < 3
        finally:
            os.kill(server.pid, signal.SIGCONT)


def test_progress__redis_back_again__told_again(
    server: EmbeddedRedis, client_of_server: redis.Redis
) -> None:
    now = [0.0]
    reporter = Reporter(
        EventAppender(client_of_server),
        clock=lambda: now[0],
        end_retry_seconds=0,
        silence_seconds=2,
    )
    with reporter.job("a1", tenant="42") as job:
        server.kill()
        job.progress(percent=1)
        server.start()
        now[0] += 1.9
        job.progress(percent=2)
        assert events(client_of_server) == []
        now[0] += 0.5
        job.progress(percent=3)
        assert percents(client_of_server) == [3]


def test_end__redis_away_for_a_while__is_delivered_when_it_comes_back(
    server: EmbeddedRedis, client_of_server: redis.Redis
) -> None:
    reporter = unhurried(client_of_server, end_retry_seconds=60)
    with ThreadPoolExecutor(1) as pool, reporter.job("a1", tenant="42") as job:
        job.progress(percent=1)
        job.progress(percent=2)
        server.kill()
        ending = pool.submit(job.done, {"rows": 1})
        eventually(lambda: not server.alive(), what="the end of the server")
        server.start()
        ending.result(timeout=30)
    assert types(client_of_server) == ["progress", "done"]


def test_end__redis_away_for_good__is_raised_after_the_bound(
    server: EmbeddedRedis, client_of_server: redis.Redis
) -> None:
    reporter = Reporter(EventAppender(client_of_server), end_retry_seconds=0.3)
    started = time.monotonic()
    job = reporter.job("a1", tenant="42")
    server.kill()
    with pytest.raises(LogUnavailable):
        job.done()
    assert time.monotonic() - started < 5
    with pytest.raises(LogUnavailable), reporter.job("a2", tenant="42"):
        pass


def test_end__redis_away__workers_own_error_is_what_its_caller_sees(
    server: EmbeddedRedis, client_of_server: redis.Redis
) -> None:
    reporter = Reporter(EventAppender(client_of_server), end_retry_seconds=0)
    server.kill()
    with pytest.raises(ValueError, match="mine"), reporter.job("a1", tenant="42"):
        raise ValueError("mine")


def spooled(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def test_spool__end_that_could_not_be_sent__goes_with_the_next_start(
    server: EmbeddedRedis, client_of_server: redis.Redis, tmp_path: Path
) -> None:
    spool = tmp_path / "new" / "spool"

    def reporter() -> Reporter:
        return Reporter(EventAppender(client_of_server), spool=spool, end_retry_seconds=0)

    with reporter().job("a1", tenant="42") as job:
        server.kill()
        job.done({"rows": 7})
    with pytest.raises(ValueError, match="x"), reporter().job("a2", tenant="43"):
        raise ValueError("x")
    waiting = spooled(spool)
    assert len(waiting) == 2
    reporter()
    assert spooled(spool) == waiting
    server.start()
    reporter()
    assert spooled(spool) == []
    (done,), (failed,) = events(client_of_server, "42"), events(client_of_server, "43")
    assert (done["type"], done["result"], failed["type"]) == ("done", {"rows": 7}, "failed")
    assert done["event_id"]


def test_spool__unreadable_file__is_left_and_stops_nothing(
    redis_client: redis.Redis, tmp_path: Path
) -> None:
    for name, content in {
        "0.event": b"",
        "1.event": b"[]",
        "2.event": b'{"tenant":"a b","event":"e30="}',
        "3.event": b'{"tenant":"42","event":"e30="}',
        "4.event": b'{"tenant":"42","event":"eyJ0eXBlIjoiZG9uZSIsImlkIjoiYTEifQ=="}',
        "5.part": b'{"tenant":"42","event":"eyJ0eXBlIjoiZG9uZSIsImlkIjoiYTEifQ=="}',
    }.items():
        (tmp_path / name).write_bytes(content)
    with (tmp_path / "6.event").open("wb") as file:
        file.truncate(10**13)  # no event is so large: reading it would take all memory
    Reporter(EventAppender(redis_client), spool=tmp_path)
    assert types(redis_client) == ["done"]
    assert [path.name for path in spooled(tmp_path)] == [
        "0.event",
        "1.event",
        "2.event",
        "3.event",
        "5.part",
        "6.event",
    ]


def test_spool__file_that_cannot_be_read_or_is_refused__stops_no_other(
    client_of_server: redis.Redis, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spool = Spool(tmp_path)
    refused = spool.keep("41", b'{"type":"done","id":"a1"}')
    client_of_server.set("tenant:41:events", "not a stream")
    (tmp_path / "0.event").mkdir()
    loop = tmp_path / "1.event"
    loop.symlink_to(loop)
    spool.keep("42", b'{"type":"done","id":"a1"}')
    Reporter(EventAppender(client_of_server), spool=tmp_path)
    assert types(client_of_server) == ["done"]
    assert [path.name for path in spooled(tmp_path)] == ["0.event", refused.name, "1.event"]
    assert sum(record.levelno == logging.ERROR for record in caplog.records) == 3


def test_spool__unfinished_files__are_removed(tmp_path: Path, redis_client: redis.Redis) -> None:
    """Those of a full disk at once, and those of a killed process at a later start."""
    code = f"""
import pathlib, resource, signal, streams.spool
spool = streams.spool.Spool(pathlib.Path({str(tmp_path)!r}))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, 1_000))
spool.keep("42", b"x" * 10_000)
"""
    full = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert b"File too large" in full.stderr
    assert spooled(tmp_path) == []
    for name, age in (("old", 7_200), ("new", 0)):
        (tmp_path / f"{name}.part").write_bytes(b'{"ten')
        os.utime(tmp_path / f"{name}.part", (time.time() - age,) * 2)
    Reporter(EventAppender(redis_client), spool=tmp_path)
    assert [path.name for path in spooled(tmp_path)] == ["new.part"]


def test_spool__several_processes_start_at_once__each_event_is_sent(
    server: EmbeddedRedis, client_of_server: redis.Redis, tmp_path: Path
) -> None:
    """Each event is sent once or twice with one event id, so that the history has it once."""
    reporter = Reporter(EventAppender(client_of_server), spool=tmp_path, end_retry_seconds=0)
    jobs = [reporter.job(f"a{number}", tenant="42") for number in range(10)]
    server.kill()
    for job in jobs:
        job.done()
    server.start()
    with ThreadPoolExecutor(4) as pool:
        for future in [
            pool.submit(Reporter, EventAppender(client_of_server), spool=tmp_path) for _ in range(4)
        ]:
            future.result()
    assert spooled(tmp_path) == []
    assert len({event["event_id"] for event in events(client_of_server)}) == 10


def test_spool__is_its_users_alone(tmp_path: Path, client_of_server: redis.Redis) -> None:
    folder = tmp_path / "spool"
    folder.mkdir(mode=0o755)
    spool = Spool(folder)
    path = spool.keep("42", b'{"type":"done","id":"a1"}')
    assert (folder.stat().st_mode & 0o777, path.stat().st_mode & 0o777) == (0o700, 0o600)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_spool__what_another_user_left__is_not_sent(
    tmp_path: Path, redis_client: redis.Redis
) -> None:
    folder = tmp_path / "spool"
    path = Spool(folder).keep("42", b'{"type":"done","id":"a1"}')
    os.chown(path, 65534, 65534)
    Reporter(EventAppender(redis_client), spool=folder)
    assert events(redis_client) == []
    os.chown(folder, 65534, 65534)
    with pytest.raises(UnsafeSpool, match="name another one"):
        Reporter(EventAppender(redis_client), spool=folder)


def test_spool__link__is_refused(tmp_path: Path, redis_client: redis.Redis) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "spool").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnsafeSpool):
        Reporter(EventAppender(redis_client), spool=tmp_path / "spool")
    planted = Spool(tmp_path / "real").keep("42", b'{"type":"done","id":"a1"}')
    planted.rename(tmp_path / "elsewhere" / planted.name)
    (tmp_path / "real" / planted.name).symlink_to(tmp_path / "elsewhere" / planted.name)
    Reporter(EventAppender(redis_client), spool=tmp_path / "real")
    assert events(redis_client) == []

"""A mistake in a report never fails a job that works, and its warning names the line."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis

from streams.appender import EventAppender
from streams.async_reporter import AsyncReporter
from streams.events import InvalidEvent
from streams.job_report import JobReport
from streams.reporter import Reporter


def events(client: redis.Redis) -> list[dict[str, Any]]:
    entries: Any = client.xrange("tenant:42:events")
    return [json.loads(fields[b"event"]) for _, fields in entries]


def line_of(function: Callable[..., object], text: str) -> str:
    """Return the place of the line of a function that contains a text."""
    lines, first = inspect.getsourcelines(function)
    (index,) = (index for index, line in enumerate(lines) if text in line)
    return f"{__file__}:{first + index}"


class Hostile(int):
    """A number whose own code fails."""

    def __int__(self) -> int:
        raise RuntimeError

    __str__ = __repr__ = __float__ = __index__ = __int__  # type: ignore[assignment]


class Endless:
    """A value whose own code recurses without an end."""

    def __getattr__(self, name: str) -> object:
        return getattr(self, name + "x")


def step(job: Any, *, percent: Any = None, **options: Any) -> None:
    with job.step("a", **options) as step:
        if percent is not None:
            step.progress(percent)


WRONG: list[tuple[str, Callable[[Any], object], dict[str, Any]]] = [
    ("percent", lambda job: job.progress("a", percent="half"), {"step": "a"}),
    ("step", lambda job: job.progress("a" * 201, percent=5), {"percent": 5}),
    ("extra", lambda job: job.progress("a", extra={"x": "y" * 9_000}), {"step": "a"}),
    ("extra", lambda job: job.progress("a", extra=["x"]), {"step": "a"}),
    ("step_index", lambda job: job.progress("a", step_index=-1), {"step": "a"}),
    ("remaining_seconds", lambda job: job.progress("a", remaining_seconds=-1), {"step": "a"}),
    ("result", lambda job: job.done({"rows": "x" * 2_000_000}), {"type": "done"}),
    ("the text", lambda job: job.done({"rows": object}), {"result": {"rows": str(object)}}),
    ("code", lambda job: job.failed("no", code="x" * 300), {"error": "no", "type": "failed"}),
    # Larger than any event, or of a form that nothing can write.
    ("extra", lambda job: job.progress("a", extra={"x": "y" * 2_000_000}), {"step": "a"}),
    ("step", lambda job: job.progress("a" * 2_000_000, percent=5), {"percent": 5}),
    ("code", lambda job: job.failed("no", code="x" * 2_000_000), {"error": "no"}),
    ("percent", lambda job: job.progress("a", percent=10**5_000), {"step": "a"}),
    ("step_index", lambda job: job.progress("a", step_index="9" * 5_000), {"step": "a"}),
    ("step", lambda job: job.progress(Hostile(), percent=5), {"percent": 5}),
    ("step_index", lambda job: job.progress("a", step_index=Hostile(-1)), {"step": "a"}),
    ("extra", lambda job: job.progress("a", extra={"x": Endless()}), {"step": "a"}),
]

NOT_NUMBERS: list[Any] = [10**400, -(10**400), "9" * 5_000, Hostile(1), Endless(), "x", -1]


@pytest.mark.parametrize(("field", "report", "kept"), WRONG, ids=range(len(WRONG)))
def test_wrong_value__is_left_out_and_named_with_its_line(
    redis_client: redis.Redis,
    caplog: pytest.LogCaptureFixture,
    field: str,
    report: Callable[[Any], object],
    kept: dict[str, Any],
) -> None:
    def work(job: JobReport) -> None:
        report(job)

    with Reporter(EventAppender(redis_client)).job("a1", tenant="42") as job:
        work(job)
    found = events(redis_client)[1]
    assert kept.items() <= found.items()
    assert field not in found
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert f"job a1: {field} " in record.getMessage()
    assert record.getMessage().startswith(f"{__file__}:")
    with (
        pytest.raises(InvalidEvent),
        Reporter(EventAppender(redis_client), strict=True).job("a2", tenant="42") as strict,
    ):
        report(strict)


def test_result_whose_code_fails__keeps_the_end(
    redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    with Reporter(EventAppender(redis_client)).job("a1", tenant="42") as job:
        job.done(Endless())
    assert [event["type"] for event in events(redis_client)] == ["processing", "done"]
    assert "job a1: result is not reported: it cannot be written" in caplog.text


@pytest.mark.parametrize("wrong", NOT_NUMBERS, ids=range(len(NOT_NUMBERS)))
def test_wrong_number_of_a_step__is_left_out(
    redis_client: redis.Redis, caplog: pytest.LogCaptureFixture, wrong: Any
) -> None:
    """Whichever of its numbers it is; the next step has what the last valid ones say."""
    reporter = Reporter(EventAppender(redis_client), progress_per_second=1e6)
    with reporter.job("a1", tenant="42") as job:
        step(job, percent=wrong)
        step(job, index=wrong)
        step(job, total=4)
        step(job, total=wrong)
        step(job)
    progress = [event for event in events(redis_client) if event["type"] == "progress"]
    assert (progress[-1]["step_index"], progress[-1]["step_total"]) == (4, 4)
    assert progress[-1]["percent"] == 100
    fields = {record.getMessage().partition("job a1: ")[2].split()[0] for record in caplog.records}
    assert fields <= {"step_percent", "step_index", "step_total"}


COMMON: list[dict[str, Any]] = [
    {"attempt": "9" * 5_000},
    {"attempt": Hostile()},
    {"labels": {"a": 10**5_000}},
    {"labels": {"a": "x" * 2_000_000}},
    {"job_type": "x" * 2_000_000},
    {"job_type": Hostile()},
]


@pytest.mark.parametrize("wrong", COMMON, ids=range(len(COMMON)))
def test_wrong_option__never_silences_the_job(
    redis_client: redis.Redis, caplog: pytest.LogCaptureFixture, wrong: dict[str, Any]
) -> None:
    """Neither when it is first found, nor when several threads find it at the same time."""
    for number in range(3):
        reporter = Reporter(EventAppender(redis_client))
        events: Any = reporter.events_of("a1", tenant="42", **wrong)
        assert events.attempt == 1 or "attempt" not in wrong
        start = threading.Barrier(4)

        def find(events: Any = events, start: Any = start) -> Any:
            start.wait()
            return events.progress({"step": "a"})

        with ThreadPoolExecutor(4) as pool:
            found = [pool.submit(find) for _ in range(4)]
        assert all(each.result() is not None for each in found), number
        assert not events.silent
        assert json.loads(events.done({"rows": 7}).payload)["result"] == {"rows": 7}
        assert not wrong.keys() & json.loads(events.done(None).payload).keys() - {"attempt"}
    (field,) = wrong
    warned = {record.getMessage().partition("job a1: ")[2] for record in caplog.records}
    assert {each.partition(" ")[0] for each in warned} == {field}


@pytest.mark.parametrize("wrong", [{"id": 10**5_000}, {"tenant": 10**5_000}, {"id": Hostile()}])
def test_identity_that_cannot_be_written__job_works_and_is_not_reported(
    redis_client: redis.Redis, caplog: pytest.LogCaptureFixture, wrong: dict[str, Any]
) -> None:
    options: dict[str, Any] = {"id": "a1", "tenant": 42} | wrong
    with Reporter(EventAppender(redis_client)).job(**options) as job:
        job.progress(50)
    assert redis_client.keys() == []
    (record,) = caplog.records
    assert "nothing of it is reported" in record.getMessage()


def test_the_line__is_that_of_the_application(
    redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    def blocking() -> None:
        with Reporter(EventAppender(redis_client)).job("a1", tenant="42") as job:
            for _ in range(3):
                job.progress(percent="blocking")  # type: ignore[arg-type]  # the mistake

    async def asynchronous() -> None:
        async with (
            AsyncReporter(EventAppender(redis_client)) as reporter,
            reporter.job("a2", tenant="42", labels={"x": "y" * 300}) as job,
            job.step("s", index=1, total=2) as step,
        ):
            await step.progress("asynchronous")  # type: ignore[arg-type]  # the mistake

    blocking()
    asyncio.run(asynchronous())
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 3
    assert said[0].startswith(line_of(blocking, '"blocking"'))
    assert "labels is not reported: labels.x: String should have at most 256 chara" in said[1]
    assert said[1].startswith(f"{__file__}:")
    assert said[2].startswith(line_of(asynchronous, '"asynchronous"'))


@pytest.mark.parametrize(
    "options",
    [{"tenant": "a b"}, {"tenant": "42", "kind": "jobs"}, {"id": "a b"}, {"id": None}],
    ids=str,
)
def test_wrong_identity__job_works_and_is_not_reported(
    redis_client: redis.Redis, caplog: pytest.LogCaptureFixture, options: Any
) -> None:
    fields = {"id": "a1", "tenant": "42", **options}
    reporter = Reporter(EventAppender(redis_client))
    with reporter.job(**fields) as job:
        job.progress(percent=5)
        job.done({"rows": 1})
    reporter.queued(**fields)
    assert redis_client.dbsize() == 0
    assert len(caplog.records) == 2
    assert "nothing of it is reported" in caplog.text


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"attempt": 0, "job_type": "x"}, {"attempt": 1, "job_type": "x"}),
        ({"attempt": "two"}, {"attempt": 1}),
        ({"job_type": "x" * 300, "attempt": 2}, {"attempt": 2}),
        ({"labels": ["a"]}, {}),
    ],
    ids=str,
)
def test_wrong_option__is_left_out(
    redis_client: redis.Redis, caplog: pytest.LogCaptureFixture, options: Any, kept: dict[str, Any]
) -> None:
    with Reporter(EventAppender(redis_client)).job("a1", tenant="42", **options):
        pass
    started, done = events(redis_client)
    for event in (started, done):
        assert kept.items() <= {"attempt": 1, **event}.items()
        assert "labels" not in event
    assert len(caplog.records) == 1


def test_ended_attempt__is_a_warning_with_the_line(
    redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    reporter = Reporter(EventAppender(redis_client))

    def again(attempt: int) -> None:
        with reporter.job("a1", tenant="42", attempt=attempt):
            pass

    again(1)
    again(2)
    assert caplog.records == []
    again(2)
    again(1)
    first, second = (record.getMessage() for record in caplog.records)
    assert first.startswith(line_of(again, "with reporter.job"))
    assert "events of attempt 2 change nothing: it has ended as done" in first
    assert "events of attempt 1 change nothing: attempt 2 was reported before" in second
    assert "attempt='next'" in first


def test_blocking_reporter__on_a_running_loop__warns_once(redis_client: redis.Redis) -> None:
    async def work() -> None:
        reporter = Reporter(EventAppender(redis_client))
        for number in range(2):
            with reporter.job(number, tenant="42") as job:
                job.progress(50)

    with pytest.warns(RuntimeWarning, match="AsyncReporter") as warned:
        asyncio.run(work())
    (warning,) = warned
    assert warning.filename == __file__
    with Reporter(EventAppender(redis_client)).job("a1", tenant="42"):
        pass


def test_invalid_id_with_the_next_attempt__is_a_warning_and_the_work_goes_on(
    redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """An id as `os.listdir` returns it for a file name in another encoding cannot be read."""
    worked = []
    reporter = Reporter(EventAppender(redis_client))
    reporter.queued("caf\udce9", tenant=42, attempt="next")
    with reporter.job("caf\udce9", tenant=42, attempt="next") as job:
        job.progress(50)
        worked.append("blocking")

    async def on_loop() -> None:
        async with AsyncReporter(EventAppender(redis_client)) as reporter:
            await reporter.queued("caf\udce9", tenant=42, attempt="next")
            async with reporter.job("caf\udce9", tenant=42, attempt="next") as job:
                job.progress(50)
                worked.append("asyncio")

    asyncio.run(on_loop())
    assert worked == ["blocking", "asyncio"]
    assert events(redis_client) == []
    assert len({record.getMessage() for record in caplog.records}) == 4
    assert all("id: String should match" in each.getMessage() for each in caplog.records)
    assert all(each.getMessage().isprintable() for each in caplog.records)

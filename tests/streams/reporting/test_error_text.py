"""The texts of an exception that users and operators see."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from streams.async_reporter import AsyncReporter
from streams.failure import Failure
from streams.integrations.async_task_reports import AsyncTaskReports
from streams.integrations.task_reports import Task, TaskReports
from streams.recording import RecordedJobs, recording
from streams.reporter import Reporter

URL = "redis://no-server.invalid:6379/0"
SECRET = "cannot open /srv/app/rows.csv: password 'x'"
TASK = Task("a1", "import_rows", 1, (), {"tenant_id": 42})
SEEN = ("Please try again.", "OSError", f"OSError: {SECRET}")


class UserError(Exception):
    """An error whose text is written for users."""


def error_text(error: BaseException) -> str | None:
    return str(error) if isinstance(error, UserError) else "Please try again."


def failing(reporter: Reporter, error: BaseException) -> None:
    with pytest.raises(type(error)), reporter.job("a1", tenant=42):
        raise error


def seen(jobs: RecordedJobs) -> tuple[str | None, str | None, str | None]:
    job = jobs["a1"]
    assert job.state == "failed"
    return job.error, job.code, job.operator_detail


def test_without_the_option_users_see_the_exceptions_own_text() -> None:
    with recording() as jobs:
        failing(Reporter.from_url(URL), OSError(SECRET))
        assert seen(jobs) == (SECRET, "OSError", None)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(SECRET), SEEN),
        (
            UserError("Row 7 has no name."),
            ("Row 7 has no name.", "UserError", "UserError: Row 7 has no name."),
        ),
        (
            Failure("the process has ended", "Killed"),
            ("Please try again.", "Killed", "Killed: the process has ended"),
        ),
    ],
)
def test_users_see_what_the_application_says_and_operators_the_exception(
    error: BaseException, expected: tuple[str, str, str]
) -> None:
    with recording() as jobs:
        failing(Reporter.from_url(URL, error_text=error_text), error)
        assert seen(jobs) == expected


def test_coroutines_and_decorated_functions_have_the_option_too() -> None:
    reporter = Reporter.from_url(URL, error_text=error_text)

    @reporter.task(tenant=42, id="a1")
    def function() -> None:
        raise OSError(SECRET)

    async def coroutine() -> None:
        async with AsyncReporter.from_env(error_text=error_text).job("a1", tenant=42):
            raise OSError(SECRET)

    for call in (function, lambda: asyncio.run(coroutine())):
        with recording() as jobs:
            with pytest.raises(OSError, match="cannot open"):
                call()
            assert seen(jobs) == SEEN


def raising(error: BaseException) -> str:
    raise ValueError(str(error))


@pytest.mark.parametrize("option", [lambda _: None, raising])
def test_no_text_of_the_application_is_no_text(
    option: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with recording() as jobs, caplog.at_level(logging.WARNING):
        failing(Reporter.from_url(URL, error_text=option), OSError(SECRET))
        assert seen(jobs) == (None, "OSError", f"OSError: {SECRET}")
    assert ("error_text raised" in caplog.text) is (option is raising)


def test_a_job_that_fails_by_a_call_chooses_both_texts() -> None:
    with recording() as jobs:
        with Reporter.from_url(URL).job("a1", tenant=42) as job:
            job.failed("No rows.", code="empty", operator_detail=SECRET)
        assert seen(jobs) == ("No rows.", "empty", SECRET)


def test_a_task_that_is_retried_tells_operators_why() -> None:
    with recording() as jobs:
        reports = AsyncTaskReports()
        asyncio.run(
            reports.queued(Task("a1", "import_rows", 2, (), {"tenant_id": 42}), OSError(SECRET))
        )
        (event,) = jobs.events
        assert (event["type"], event["attempt"]) == ("queued", 2)
        assert event["operator_detail"] == f"OSError: {SECRET}"


@pytest.mark.parametrize("made", [TaskReports, AsyncTaskReports])
def test_the_option_is_that_of_the_reporter_if_there_is_one(made: Any) -> None:
    with pytest.raises(ValueError, match="error_text is an option of the reporter"):
        made(through=object(), error_text=error_text)
